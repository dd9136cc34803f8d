"""What was refused, and how often: counters with bounded labels and the newest refused messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lamppost_hub.database import Database

UNKNOWN = "unknown"  # the label of everything that names no enrolled gateway
DUPLICATES = "duplicates"  # the one counter that is no refusal code
KEPT_MESSAGES = 1000
KEPT_BYTES = 4096  # of each; the rest of a refused message is of no use to anybody


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused message: when (UTC, nanoseconds), under which topic, why, its size and its first bytes."""

    number: int
    at: int
    gateway: str
    topic: str
    code: str
    size: int


class Books:
    """Counters and refused messages in hub.sqlite; writes join the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, tally: Mapping[tuple[str, str], int]) -> None:
        """Add to the counters of (gateway or UNKNOWN, one of the closed list of codes)."""
        for gateway, name in sorted(tally):  # in one order, as receivers may share the table
            self._database.run(
                "INSERT INTO counters (gateway, name, count) VALUES (?, ?, ?)"
                " ON CONFLICT (gateway, name) DO UPDATE SET count = counters.count + excluded.count",
                gateway,
                name,
                tally[gateway, name],
            )

    def keep(self, gateway: str, topic: str, code: str, message: bytes, utc: int) -> None:
        """Keep a refused message's first bytes; the oldest give way."""
        with self._database.transaction():
            number = self._database.insert(
                "INSERT INTO refused (at, gateway, topic, code, size, head) VALUES (?, ?, ?, ?, ?, ?)"
                " RETURNING number",
                utc,
                gateway,
                topic[:255].replace("\0", " "),
                code,
                len(message),
                message[:KEPT_BYTES],
            )
            self._database.run("DELETE FROM refused WHERE number <= ?", number - KEPT_MESSAGES)

    def counters(self) -> dict[str, dict[str, int]]:
        """{gateway or UNKNOWN: {code: count}}."""
        found: dict[str, dict[str, int]] = {}
        for gateway, name, count in self._database.rows(
            "SELECT gateway, name, count FROM counters ORDER BY gateway, name"
        ):
            found.setdefault(gateway, {})[name] = count
        return found

    def refused(self, limit: int) -> list[Refused]:
        """The newest refused messages, newest first."""
        rows = self._database.rows(
            "SELECT number, at, gateway, topic, code, size FROM refused ORDER BY number DESC LIMIT ?",
            limit,
        )
        return [Refused(*row) for row in rows]
