"""What every sink still has to get. The archive is the queue: a sink has one cursor a gateway.

A batch is therefore durably queued by the very transaction that books it. What a sink refuses for good goes to its
dead letters and the cursor moves on; an operator may queue a dead letter again.

Receivers share the work by leases: who claims a gateway's cursor is the only one to write that gateway's batches until
the lease ends, by the database's clock, or is given back.
"""

from __future__ import annotations

from collections.abc import Collection
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


ENTRY = (
    "SELECT e.position, g.id, s.epoch, e.seq, e.first, e.count, e.received, e.body FROM entries e"
    " JOIN streams s ON s.number = e.stream JOIN gateways g ON g.number = e.gateway"
)
LEASE = 60  # seconds
EXPRESS = " alerts"
"""What follows a sink's name where the cursor is that of its alerts."""
NEWEST = " newest"
"""The same where the cursor says how far the sink was shown what is newest (`ahead`)."""

_BEHIND = (
    " FROM gateways g LEFT JOIN cursors c ON c.gateway = g.number AND c.sink = ?"
    " WHERE g.head > coalesce(c.through, 0)"
)


class Queue:
    """Cursors and dead letters in hub.sqlite, used by one thread at a time."""

    _waiting = "g.head > c.through"  # whether a cursor `c` of gateway `g` has something to get

    def __init__(self, database: Database) -> None:
        self._database = database

    def _is_waiting(self) -> str:
        return self._waiting

    def sinks(self) -> list[str]:
        """The names of all sinks that ever got something."""
        rows = self._database.rows("SELECT DISTINCT sink FROM cursors ORDER BY sink")
        return [name for (name,) in rows if not name.endswith((EXPRESS, NEWEST))]

    def claim(self, sink: str, owner: str, limit: int, resting: Collection[str] = ()) -> list[str]:
        """Lease gateways that have something for this sink and are nobody else's, the longest waiting first.

        Those that rest are left to others.
        """
        self._database.run(
            "INSERT INTO cursors (sink, gateway, through) SELECT ?, g.number, 0 FROM gateways g WHERE g.head > 0"
            " AND NOT EXISTS (SELECT 1 FROM cursors c WHERE c.sink = ? AND c.gateway = g.number)"
            " ORDER BY g.number ON CONFLICT (sink, gateway) DO NOTHING",
            sink,
            sink,
        )
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT g.number, g.id FROM cursors c JOIN gateways g ON g.number = c.gateway"
                f" WHERE c.sink = ? AND {self._is_waiting()}"
                f" AND (c.owner = ? OR c.lease <= {self._database.now})"
                f" ORDER BY c.through LIMIT ?{self._database.skip_locked}",
                sink,
                owner,
                limit + len(resting),
            )
            rows = [row for row in rows if row[1] not in resting][:limit]
            if rows:
                places = ", ".join("?" * len(rows))
                self._database.run(
                    f"UPDATE cursors SET owner = ?, lease = {self._database.now} + ?"
                    f" WHERE sink = ? AND gateway IN ({places})",
                    owner,
                    LEASE,
                    sink,
                    *(number for number, _ in rows),
                )
        return [row[1] for row in rows]

    def renew(self, sink: str, gateway: str, owner: str) -> bool:
        """Begin the lease anew; False where it ended and somebody else has the gateway."""
        changed = self._database.run(
            f"UPDATE cursors SET lease = {self._database.now} + ? WHERE sink = ? AND owner = ?"
            " AND gateway = (SELECT number FROM gateways WHERE id = ?)",
            LEASE,
            sink,
            owner,
            gateway,
        )
        return changed == 1

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
            ENTRY
            + " WHERE e.gateway = (SELECT number FROM gateways WHERE id = ?) AND e.position > coalesce(("
            "SELECT c.through FROM cursors c WHERE c.sink = ? AND c.gateway = e.gateway), 0)"
            " ORDER BY e.position LIMIT ?",
            gateway,
            sink,
            limit,
        )
        return [Queued(*row) for row in rows]

    def drained(self, sink: str, gateway: str, owner: str, position: int) -> None:
        """The sink has all of a claimed gateway up to `position` (0: no more than before); others may have it now."""
        self._database.run(
            "UPDATE cursors SET through = CASE WHEN through < ? THEN ? ELSE through END,"
            " lease = CASE WHEN owner = ? THEN 0 ELSE lease END"
            " WHERE sink = ? AND gateway = (SELECT number FROM gateways WHERE id = ?)",
            position,
            position,
            owner,
            sink,
            gateway,
        )

    def delivered(self, sink: str, gateway: str, position: int) -> None:
        """The sink has all of this gateway's batches up to `position`; durable when the transaction commits.

        True whoever says it, so nobody's lease is asked for and none is changed.
        """
        self._database.run(
            "INSERT INTO cursors (sink, gateway, through) SELECT ?, number, ? FROM gateways WHERE id = ?"
            " ON CONFLICT (sink, gateway) DO UPDATE SET through ="
            " CASE WHEN excluded.through > cursors.through THEN excluded.through ELSE cursors.through END",
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

    def retried(self, sink: str, owner: str, after: int = 0) -> Queued | None:
        """Lease the next dead letter behind position `after` that an operator queued again and nobody else has."""
        with self._database.transaction():
            found = self._database.row(
                "SELECT c.number FROM dead_letters c WHERE c.sink = ? AND c.state = 'queued' AND c.position > ?"
                f" AND (c.owner = ? OR c.lease <= {self._database.now})"
                f" ORDER BY c.position LIMIT 1{self._database.skip_locked}",
                sink,
                after,
                owner,
            )
            if found is None:
                return None
            self._database.run(
                f"UPDATE dead_letters SET owner = ?, lease = {self._database.now} + ? WHERE number = ?",
                owner,
                LEASE,
                found[0],
            )
            (letter,) = self._database.rows(
                ENTRY + " JOIN dead_letters d ON d.position = e.position WHERE d.number = ?",
                found[0],
            )
        return Queued(*letter)

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
