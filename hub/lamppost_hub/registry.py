"""Who may send: gateways, their envelope keys and certificates. The authority for revocation.

A key is never forgotten: the archive stays verifiable after its gateway was revoked or got a new key.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamppost.envelope.keys import PublicKey
from lamppost.envelope.seal import SignerRecord
from lamppost.errors import TrustError
from lamppost_hub.ca import Issued, check_gateway_id
from lamppost_hub.database import Database

ACTIVE, REVOKED, QUARANTINED = "active", "revoked", "quarantined"


@dataclass(frozen=True, slots=True)
class Gateway:
    """One row of the registry. Times are UTC in nanoseconds; `seen` is 0 before the first batch."""

    number: int
    id: str
    state: str
    kid: bytes
    enrolled: int
    seen: int
    not_after: int


class Registry:
    """The registry's tables in hub.sqlite. Reads are never cached: a revocation counts from its commit on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._parsed: dict[bytes, SignerRecord] = {}

    def signer_of(self, kid: bytes) -> SignerRecord | None:
        """The gateway and key behind a key id, whatever their state; None for a key never enrolled."""
        known = self._parsed.get(kid)
        if known is not None:
            return known
        row = self._database.row(
            "SELECT g.id, k.pem FROM keys k JOIN gateways g ON g.number = k.gateway WHERE k.kid = ?",
            kid,
        )
        if row is None:
            return None
        # What a key id means never changes, so only the parsing is remembered, not the state.
        record = self._parsed[kid] = SignerRecord(row[0], PublicKey.from_pem(row[1]))
        return record

    def keys_of(self, gateway: str) -> tuple[PublicKey, ...]:
        """Every envelope key it ever had, the current one last. Raises TrustError `registry.unknown-gateway`."""
        rows = self._database.rows(
            "SELECT pem FROM keys WHERE gateway = ? ORDER BY state DESC, rowid",
            self._number(gateway),
        )
        return tuple(PublicKey.from_pem(row[0]) for row in rows)

    def refusal_of(self, kid: bytes) -> str | None:
        """Why nothing signed with this key is taken now: `registry.revoked`, `registry.key-retired`, or None."""
        row = self._database.row(
            "SELECT g.state, k.state FROM keys k JOIN gateways g ON g.number = k.gateway WHERE k.kid = ?",
            kid,
        )
        if row is None or row[0] == REVOKED:
            return "registry.revoked"
        return "registry.key-retired" if row[1] == "retired" else None

    def knows(self, gateway: str) -> bool:
        """Whether a gateway of that id was ever enrolled."""
        return self._database.row("SELECT 1 FROM gateways WHERE id = ?", gateway) is not None

    def enrol(
        self, gateway: str, key: PublicKey, issued: Issued, utc: int, *, replace: bool = False
    ) -> None:
        """Take a gateway in, or give a known one another certificate.

        Another key for a known id, or a revoked gateway, needs `replace` (the operator says that the hardware is
        new, or that the gateway was found). A key that belongs to another id is a cloned card and always refused.
        Raises TrustError `registry.key-taken`, `registry.key-differs`, `registry.revoked`, `ca.gateway-id`.
        """
        check_gateway_id(gateway)
        with self._database.transaction():
            self._check_key(gateway, key, replace=replace)
            self._database.run(
                "INSERT INTO gateways (id, state, enrolled) VALUES (?, 'active', ?) ON CONFLICT (id) DO UPDATE"
                " SET state = CASE state WHEN 'revoked' THEN 'active' ELSE state END",
                gateway,
                utc,
            )
            number = self._number(gateway)
            self._database.run("UPDATE keys SET state = 'retired' WHERE gateway = ?", number)
            self._database.run(
                "INSERT INTO keys (kid, gateway, pem, state) VALUES (?, ?, ?, 'current')"
                " ON CONFLICT (kid) DO UPDATE SET state = 'current'",
                key.kid,
                number,
                key.pem().encode(),
            )
            self._database.run(
                "INSERT INTO certificates (serial, gateway, issued, not_after, pem) VALUES (?, ?, ?, ?, ?)",
                issued.serial,
                number,
                utc,
                issued.not_after,
                issued.pem,
            )

    def _check_key(self, gateway: str, key: PublicKey, *, replace: bool) -> None:
        owner = self._database.row(
            "SELECT g.id FROM keys k JOIN gateways g ON g.number = k.gateway WHERE k.kid = ?",
            key.kid,
        )
        if owner is not None and owner[0] != gateway:
            raise TrustError(
                f"the envelope key of this request is {owner[0]}'s",
                code="registry.key-taken",
                hint=f"the card of {owner[0]} was copied: give {gateway} a fresh card and enrol that",
            )
        known = self._database.row(
            "SELECT k.kid, g.state FROM gateways g JOIN keys k ON k.gateway = g.number AND k.state = 'current'"
            " WHERE g.id = ?",
            gateway,
        )
        if known is None or replace:
            return
        if known[1] == REVOKED:
            raise TrustError(
                f"{gateway} is revoked",
                code="registry.revoked",
                hint="if it may come back: lamppost-hub enrol approve … --replace",
            )
        if known[0] != key.kid:
            raise TrustError(
                f"{gateway} is enrolled with another envelope key",
                code="registry.key-differs",
                hint="if its card or hardware was replaced: lamppost-hub enrol approve … --replace",
            )

    def revoke(self, gateway: str) -> None:
        """Refuse everything of this gateway from now on. Raises TrustError `registry.unknown-gateway`."""
        with self._database.transaction():
            number = self._number(gateway)
            self._database.run("UPDATE gateways SET state = 'revoked' WHERE number = ?", number)

    def seen(self, gateway: str, utc: int) -> None:
        """Note when the gateway was last heard, in the caller's transaction."""
        self._database.run("UPDATE gateways SET seen = ? WHERE id = ?", utc, gateway)

    def gateways(self) -> list[Gateway]:
        """All of them, by id; `not_after` is the end of the newest certificate."""
        rows = self._database.rows(
            "SELECT g.number, g.id, g.state, k.kid, g.enrolled, g.seen,"
            " (SELECT max(c.not_after) FROM certificates c WHERE c.gateway = g.number)"
            " FROM gateways g JOIN keys k ON k.gateway = g.number AND k.state = 'current' ORDER BY g.id"
        )
        return [Gateway(*row) for row in rows]

    def _number(self, gateway: str) -> int:
        row = self._database.row("SELECT number FROM gateways WHERE id = ?", gateway)
        if row is None:
            raise TrustError(
                f"no gateway {gateway!r} is enrolled",
                code="registry.unknown-gateway",
                hint="lamppost-hub enrol list DIR shows the enrolled ones",
            )
        return int(row[0])
