"""One-time tokens: the operator's word, given to an installer, that a gateway of this id may enrol once.

192 bits each; only the SHA-256 is kept, so a copy of the database lets nobody in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256

from lamppost_hub.ca import check_gateway_id
from lamppost_hub.database import Database

HOURS = 24
_HOUR = 3_600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was made and not spent. `until` is UTC in nanoseconds; `replace`: another key or board may come."""

    gateway: str
    until: int
    replace: bool


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode()).digest()


class Tokens:
    """The table of tokens in the hub's database. One open token a gateway: a new one takes the place of the old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, gateway: str, utc: int, *, hours: int = HOURS, replace: bool = False) -> str:
        """A new token, shown once. Raises TrustError `ca.gateway-id`."""
        token = secrets.token_urlsafe(24)
        self.adopt(gateway, digest_of(token), utc + hours * _HOUR, replace=replace)
        return token

    def adopt(self, gateway: str, digest: bytes, until: int, *, replace: bool = False) -> None:
        """Take in the digest of a token that the kit has made. Raises TrustError `ca.gateway-id`."""
        check_gateway_id(gateway)
        with self._database.transaction():
            self._database.run("DELETE FROM tokens WHERE gateway = ?", gateway)
            self._database.run(
                "INSERT INTO tokens (gateway, digest, until, replaces) VALUES (?, ?, ?, ?)",
                gateway,
                digest,
                until,
                int(replace),
            )

    def spend(self, gateway: str, token: str, utc: int) -> Token | None:
        """Use the gateway's token up, in the caller's transaction; None for a wrong, used or expired one."""
        row = self._database.row(
            "SELECT digest, until, replaces FROM tokens WHERE gateway = ?", gateway
        )
        if row is None or not secrets.compare_digest(bytes(row[0]), digest_of(token)):
            return None
        if utc >= row[1]:
            return None
        spent = self._database.run(
            "DELETE FROM tokens WHERE gateway = ? AND digest = ?", gateway, row[0]
        )  # nothing where somebody else has spent it since it was read
        return Token(gateway, row[1], bool(row[2])) if spent else None

    def open(self) -> list[Token]:
        """All that were made and not spent, by gateway; expired ones too."""
        rows = self._database.rows("SELECT gateway, until, replaces FROM tokens ORDER BY gateway")
        return [Token(row[0], row[1], bool(row[2])) for row in rows]
