"""Who may send: gateways, their envelope keys and certificates. The authority for revocation.

A key is never forgotten: the archive stays verifiable after its gateway was revoked or got a new key.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self._known: set[str] = set()

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
            "SELECT pem FROM keys WHERE gateway = ? ORDER BY state DESC, number",
            self._number(gateway),
        )
        return tuple(PublicKey.from_pem(row[0]) for row in rows)

    def refusal_of(self, kid: bytes) -> str | None:
        """Why nothing signed with this key is taken now: `registry.revoked`, `registry.key-retired`, or None."""
        row = self._database.row(
            "SELECT g.state, k.state FROM keys k JOIN gateways g ON g.number = k.gateway WHERE k.kid = ?",
            kid,
        )
        return "registry.revoked" if row is None else _refusal(row[0], row[1])

    def knows(self, gateway: str) -> bool:
        """Whether a gateway of that id was ever enrolled, which never changes again."""
        if gateway not in self._known:
            if self._database.row("SELECT 1 FROM gateways WHERE id = ?", gateway) is None:
                return False
            self._known.add(gateway)
        return True

    def hold(self, gateways: Sequence[str]) -> None:
        """Keep everybody else from booking for these gateways, or changing them, until the transaction ends.

        In the order of their ids, so that receivers who share a database never wait for one another in a circle.
        """
        if gateways and self._database.shared:  # else the transaction has locked it all
            places = ", ".join("?" * len(gateways))
            self._database.rows(
                f"SELECT number FROM gateways WHERE id IN ({places}) ORDER BY id{self._database.for_update}",
                *sorted(gateways),
            )

    def refusals_of(self, gateways: Sequence[str]) -> dict[bytes, str | None]:
        """`refusal_of` for every key that these gateways ever had."""
        places = ", ".join("?" * len(gateways))
        rows = self._database.rows(
            "SELECT k.kid, g.state, k.state FROM gateways g JOIN keys k ON k.gateway = g.number"
            f" WHERE g.id IN ({places})",
            *gateways,
        )
        return {row[0]: _refusal(row[1], row[2]) for row in rows}

    def current_key(self, gateway: str) -> bytes | None:
        """The id of the envelope key that may sign for an active or quarantined gateway, else None."""
        row = self._database.row(
            "SELECT k.kid FROM gateways g JOIN keys k ON k.gateway = g.number AND k.state = 'current'"
            " WHERE g.id = ? AND g.state <> 'revoked'",
            gateway,
        )
        return None if row is None else bytes(row[0])

    def holder_of(self, serial: str) -> str | None:
        """The gateway that a certificate (serial number, hexadecimal) was issued to, whatever its state."""
        row = self._database.row(
            "SELECT g.id FROM certificates c JOIN gateways g ON g.number = c.gateway WHERE c.serial = ?",
            serial,
        )
        return None if row is None else str(row[0])

    def state_of(self, gateway: str) -> str:
        """Active, revoked or quarantined. Raises TrustError `registry.unknown-gateway`."""
        row = self._database.row(
            "SELECT state FROM gateways WHERE number = ?", self._number(gateway)
        )
        assert row is not None
        return str(row[0])

    def sealing(self) -> dict[str, bytes | None]:
        """By gateway that is not revoked: the hub's key that its newest enrolment gave it; None where unknown."""
        rows = self._database.rows(
            "SELECT g.id, k.sealed_for FROM gateways g JOIN keys k ON k.gateway = g.number"
            " AND k.state = 'current' WHERE g.state <> 'revoked' ORDER BY g.id"
        )
        return {row[0]: row[1] for row in rows}

    def seals_for(self, gateway: str, hub_key: bytes) -> None:
        """Note for which key of the hub a gateway seals from now on, in the caller's transaction."""
        self._database.run(
            "UPDATE keys SET sealed_for = ? WHERE state = 'current'"
            " AND gateway = (SELECT number FROM gateways WHERE id = ?)",
            hub_key,
            gateway,
        )

    def certified(self, gateway: str, issued: Issued, utc: int) -> None:
        """Note another certificate of a known gateway. Raises TrustError `registry.unknown-gateway`."""
        self._database.run(
            "INSERT INTO certificates (serial, gateway, issued, not_after, pem) VALUES (?, ?, ?, ?, ?)",
            issued.serial,
            self._number(gateway),
            utc,
            issued.not_after,
            issued.pem,
        )

    def enrol(
        self,
        gateway: str,
        key: PublicKey,
        issued: Issued,
        utc: int,
        *,
        board: str = "",
        replace: bool = False,
    ) -> None:
        """Take a gateway in, or give a known one another certificate.

        Another key or board for a known id, or a revoked gateway, needs `replace` (the operator says that the
        hardware is new, or that the gateway was found). A key that belongs to another id is a cloned card and always
        refused; so is a `board` (its serial number, "" where it has none) that another gateway in service has.
        Raises TrustError `registry.key-taken`, `registry.key-differs`, `registry.board-taken`,
        `registry.board-differs`, `registry.revoked`, `ca.gateway-id`.
        """
        check_gateway_id(gateway)
        with self._database.transaction():
            self.hold([gateway])
            self._check_key(gateway, key, replace=replace)
            if board:
                self._check_board(gateway, board, replace=replace)
            self._database.run(
                "INSERT INTO gateways (id, state, enrolled) VALUES (?, 'active', ?) ON CONFLICT (id) DO UPDATE"
                " SET state = CASE gateways.state WHEN 'revoked' THEN 'active' ELSE gateways.state END",
                gateway,
                utc,
            )
            number = self._number(gateway)
            self._database.run("UPDATE keys SET state = 'retired' WHERE gateway = ?", number)
            self._database.run(
                "INSERT INTO keys (kid, gateway, pem, state, number)"
                " SELECT ?, ?, ?, 'current', coalesce(max(number), 0) + 1 FROM keys WHERE true"
                " ON CONFLICT (kid) DO UPDATE SET state = 'current'",
                key.kid,
                number,
                key.pem().encode(),
            )
            self.certified(gateway, issued, utc)
            if board:
                self._database.run("DELETE FROM boards WHERE gateway = ?", number)
                self._database.run(
                    "INSERT INTO boards (gateway, serial) VALUES (?, ?)", number, board
                )

    def _check_board(self, gateway: str, board: str, *, replace: bool) -> None:
        owner = self._database.row(
            "SELECT g.id FROM boards b JOIN gateways g ON g.number = b.gateway"
            " WHERE b.serial = ? AND g.id <> ? AND g.state <> 'revoked'",
            board,
            gateway,
        )
        if owner is not None:
            raise TrustError(
                f"the board {board} is claimed by {owner[0]} already",
                code="registry.board-taken",
                hint=f"is {owner[0]} out of service? lamppost-hub enrol revoke DIR {owner[0]}, then enrol again",
            )
        known = self._database.row(
            "SELECT b.serial FROM boards b JOIN gateways g ON g.number = b.gateway WHERE g.id = ?",
            gateway,
        )
        if known is not None and known[0] != board and not replace:
            raise TrustError(
                f"{gateway} was enrolled on the board {known[0]}, this is {board}",
                code="registry.board-differs",
                hint="a copied card, unless the board was replaced: lamppost-hub enrol token DIR … --replace",
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


def _refusal(gateway: str, key: str) -> str | None:
    if gateway == REVOKED:
        return "registry.revoked"
    return "registry.key-retired" if key == "retired" else None
