"""What every sink still has to get. The archive is the queue: a sink has one cursor a gateway.

A batch is therefore durably queued by the very transaction that books it. What a sink refuses for good goes to its
dead letters and the cursor moves on; an operator may queue a dead letter again.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamppost_hub.database import Database


@dataclass(frozen=True, slots=True)
class Queued:
    """One archived batch on its way to a sink. `received` is UTC in nanoseconds, `body` the signed COSE_Sign1."""

    position: int
    gateway: str
    epoch: str
    seq: int
    first: int
    count: int
    received: int
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that a sink refused for good. State `parked`, or `queued` once an operator asked for another try."""

    number: int
    sink: str
    gateway: str
    epoch: str
    seq: int
    state: str
    code: str
    reason: str
    at: int


_ENTRY = (
    "SELECT e.position, g.id, s.epoch, e.seq, e.first, e.count, e.received, e.body FROM entries e"
    " JOIN streams s ON s.number = e.stream JOIN gateways g ON g.number = e.gateway"
)
_BEHIND = (
    " FROM gateways g LEFT JOIN cursors c ON c.gateway = g.number AND c.sink = ?"
    " WHERE g.head > coalesce(c.through, 0)"
)


class Queue:
    """Cursors and dead letters in hub.sqlite, used by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sinks(self) -> list[str]:
        """The names of all sinks that ever got something."""
        return [
            row[0] for row in self._database.rows("SELECT DISTINCT sink FROM cursors ORDER BY sink")
        ]

    def behind(self, sink: str) -> list[str]:
        """Gateways that have something for this sink, the longest waiting first."""
        rows = self._database.rows(f"SELECT g.id{_BEHIND} ORDER BY coalesce(c.through, 0)", sink)
        return [row[0] for row in rows]

    def backlog(self, sink: str) -> int:
        """How many batches this sink has not got yet, dead letters not counted."""
        row = self._database.row(
            "SELECT coalesce(sum((SELECT count(*) FROM entries e WHERE e.gateway = g.number"
            f" AND e.position > coalesce(c.through, 0))), 0){_BEHIND}",
            sink,
        )
        return int(row[0]) if row else 0

    def next_of(self, sink: str, gateway: str, limit: int) -> list[Queued]:
        """The gateway's next batches for this sink, in the order in which they were booked."""
        rows = self._database.rows(
            _ENTRY
            + " WHERE e.gateway = (SELECT number FROM gateways WHERE id = ?) AND e.position > coalesce(("
            "SELECT c.through FROM cursors c WHERE c.sink = ? AND c.gateway = e.gateway), 0)"
            " ORDER BY e.position LIMIT ?",
            gateway,
            sink,
            limit,
        )
        return [Queued(*row) for row in rows]

    def delivered(self, sink: str, gateway: str, position: int) -> None:
        """The sink has all of this gateway's batches up to `position`; durable when the transaction commits."""
        self._database.run(
            "INSERT INTO cursors (sink, gateway, through) SELECT ?, number, ? FROM gateways WHERE id = ?"
            " ON CONFLICT (sink, gateway) DO UPDATE SET through = max(through, excluded.through)",
            sink,
            position,
            gateway,
        )

    def park(self, sink: str, queued: Queued, code: str, reason: str, utc: int) -> None:
        """Put a batch among the dead letters (again) and move on behind it."""
        with self._database.transaction():
            self._database.run(
                "INSERT INTO dead_letters (sink, position, state, code, reason, at) VALUES (?, ?, 'parked', ?, ?, ?)"
                " ON CONFLICT (sink, position) DO UPDATE SET state = 'parked', code = excluded.code,"
                " reason = excluded.reason, at = excluded.at",
                sink,
                queued.position,
                code,
                reason[:2000],
                utc,
            )
            self.delivered(sink, queued.gateway, queued.position)

    def retried(self, sink: str, limit: int) -> list[Queued]:
        """Dead letters that an operator queued again."""
        rows = self._database.rows(
            _ENTRY + " JOIN dead_letters d ON d.position = e.position"
            " WHERE d.sink = ? AND d.state = 'queued' ORDER BY e.position LIMIT ?",
            sink,
            limit,
        )
        return [Queued(*row) for row in rows]

    def unpark(self, sink: str, position: int) -> None:
        """A dead letter reached the sink after all."""
        self._database.run(
            "DELETE FROM dead_letters WHERE sink = ? AND position = ?", sink, position
        )

    def dead_letters(self) -> list[DeadLetter]:
        """All of them, oldest first."""
        rows = self._database.rows(
            "SELECT d.number, d.sink, g.id, s.epoch, e.seq, d.state, d.code, d.reason, d.at FROM dead_letters d"
            " JOIN entries e ON e.position = d.position JOIN streams s ON s.number = e.stream"
            " JOIN gateways g ON g.number = e.gateway ORDER BY d.number"
        )
        return [DeadLetter(*row) for row in rows]

    def retry(self, numbers: tuple[int, ...] | None) -> int:
        """Queue these dead letters (all with None) again; returns how many there were."""
        with self._database.transaction():
            if numbers is None:
                return self._database.run(
                    "UPDATE dead_letters SET state = 'queued' WHERE state = 'parked'"
                )
            return sum(
                self._database.run(
                    "UPDATE dead_letters SET state = 'queued' WHERE state = 'parked' AND number = ?",
                    number,
                )
                for number in numbers
            )
