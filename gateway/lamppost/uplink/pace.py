"""How much to send at a time, learned from receipts: full use of a fast line, short queues on a slow one. Pure.

An alert overtakes what still waits here, but not bytes already handed to the connection. So no more is unanswered than
about one second of the line's measured rate (two round trips where those are longer), and a batch of a backlog is
made to take half a second, within bounds. The rate is what receipts prove: bytes answered since a batch was sent, over
the time that took. A rate seen while the line was not full counts only if it is higher than what was known.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

QUEUE = 1.0  # seconds of the line's rate that may be unanswered
ROUND_TRIPS = 2.0
LEAST_QUEUE = 32 * 1024  # bytes
FILL = 0.5  # seconds that a batch of a backlog should take
LEAST_READINGS, MOST_READINGS = 200, 8_000  # of a batch; the most keeps payloads well under 16 MiB
FIRST_READINGS = 4_000
FIRST_SIZE = 20.0  # bytes a reading, until one is known
FORGET = 0.25  # the weight of a lower rate, and of a batch's size


class Pace:
    """What is unanswered, and what the line bears. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._out: dict[Hashable, tuple[int, float, int, bool]] = {}
        self._trip: float | None = (
            None  # the shortest of this connection: longer ones are our own queue
        )
        self._answered = 0
        self._size = FIRST_SIZE
        self.rate: float | None = None  # bytes a second
        self.unanswered = 0  # bytes

    def sent(self, key: Hashable, size: int, readings: int, now: float) -> None:
        """A batch was handed to the connection."""
        self._forget(key)
        full = self.unanswered + size >= self.queue / 2
        self._out[key] = size, now, self._answered, full
        self.unanswered += size
        self._size += FORGET * (size / max(1, readings) - self._size)

    def proved(self, key: Hashable, now: float) -> None:
        """Its receipt is here. A batch that is not known to be out says nothing."""
        flight = self._out.get(key)
        if flight is None:
            return
        self._forget(key)
        size, begin, answered, full = flight
        self._answered += size
        took = max(now - begin, 1e-3)
        self._trip = took if self._trip is None else min(took, self._trip)
        seen = (self._answered - answered) / took
        if self.rate is None or seen > self.rate:
            self.rate = seen
        elif full:
            self.rate += FORGET * (seen - self.rate)

    def troubled(self) -> None:
        """A receipt is overdue, or the hub asks for a batch again."""
        if self.rate is not None:
            self.rate /= 2

    def lost(self) -> None:
        """The connection is gone, and what was out with it."""
        self._out.clear()
        self.unanswered = 0
        self._trip = None

    def only(self, out: Collection[Hashable]) -> None:
        """These batches are out; the others were refused, or wait to be sent again."""
        for key in [key for key in self._out if key not in out]:
            self._forget(key)

    def allows(self, size: int) -> bool:
        """Whether a batch of `size` bytes may go now; one always may."""
        return not self._out or self.unanswered + size <= self.queue

    @property
    def queue(self) -> float:
        """Bytes that may be unanswered."""
        if self.rate is None:
            return float("inf")
        return max(LEAST_QUEUE, self.rate * max(QUEUE, ROUND_TRIPS * (self._trip or 0.0)))

    @property
    def readings(self) -> int:
        """How many readings a batch of a backlog should hold."""
        if self.rate is None:
            return FIRST_READINGS
        wanted = self.rate * FILL / max(self._size, 0.1)
        return round(min(max(wanted, LEAST_READINGS), MOST_READINGS))

    def _forget(self, key: Hashable) -> None:
        flight = self._out.pop(key, None)
        if flight is not None:
            self.unanswered -= flight[0]
