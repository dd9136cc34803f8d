"""Streams that were stopped because two different batches bore one number, what contradicts what, and their release."""

from __future__ import annotations

from dataclasses import dataclass

from lamppost.errors import TrustError
from lamppost_hub.database import Database
from lamppost_hub.registry import Registry


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A batch that was not taken: its number, why, when it came, and when the one that is booked came (UTC, ns).

    `booked` is 0 where no batch of that number is booked.
    """

    seq: int
    code: str
    at: int
    booked: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A quarantined stream: so many batches are held, and the contradictions that are kept of it, oldest first."""

    gateway: str
    epoch: str
    batches: int
    contradictions: tuple[Contradiction, ...]


class Quarantine:
    """The operator's look at quarantined streams, and the decision to go on with one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stopped(self) -> list[Stopped]:
        """All quarantined streams, by gateway."""
        rows = self._database.rows(
            "SELECT s.number, g.id, s.epoch, s.frontier FROM streams s JOIN gateways g ON g.number = s.gateway"
            " WHERE s.state = 'quarantined' ORDER BY g.id, s.number"
        )
        return [
            Stopped(gateway, epoch, int.from_bytes(frontier[:8], "big"), self._evidence(number))
            for number, gateway, epoch, frontier in rows
        ]

    def _evidence(self, stream: int) -> tuple[Contradiction, ...]:
        rows = self._database.rows(
            "SELECT v.seq, v.code, v.at, coalesce(e.received, 0) FROM evidence v"
            " LEFT JOIN entries e ON e.stream = v.stream AND e.seq = v.seq WHERE v.stream = ? ORDER BY v.number",
            stream,
        )
        return tuple(Contradiction(*row) for row in rows)

    def release(self, gateway: str) -> list[str]:
        """Take batches of the gateway's quarantined epochs again; returns these epochs. The evidence stays.

        What is booked stays booked: only the card whose batches those are can go on, and if the other one sends
        again, the stream is stopped again. Raises TrustError `ledger.not-quarantined`, `registry.unknown-gateway`.
        """
        with self._database.transaction():
            registry = Registry(self._database)
            registry.hold([gateway])
            registry.state_of(gateway)
            epochs = [stream.epoch for stream in self.stopped() if stream.gateway == gateway]
            if not epochs:
                raise TrustError(
                    f"no epoch of {gateway} is quarantined",
                    code="ledger.not-quarantined",
                    hint="lamppost-hub quarantine list DIR shows what is stopped",
                )
            number = "(SELECT number FROM gateways WHERE id = ?)"
            self._database.run(
                f"UPDATE streams SET state = 'open' WHERE state = 'quarantined' AND gateway = {number}",
                gateway,
            )
            self._database.run(
                "UPDATE gateways SET state = 'active' WHERE id = ? AND state = 'quarantined'",
                gateway,
            )
        return epochs
