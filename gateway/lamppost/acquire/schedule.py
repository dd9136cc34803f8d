"""When to read what: absolute deadlines on the monotonic clock, so that nothing drifts. Pure.

The n-th beat of an entry is due at origin + n × period, whatever happened before. A beat that comes too late, because
its successor is due as well, is skipped and counted: at most one beat of an entry ever waits.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Beat(NamedTuple, Generic[Key]):
    """Something is due: since when (monotonic seconds), and how many beats before it were skipped."""

    key: Key
    deadline: float
    skipped: int


@dataclass(slots=True)
class _Entry:
    origin: float
    period: float
    number: int
    turn: int  # which of its places in the heap counts; others are left over

    def due(self) -> float:
        return self.origin + self.number * self.period


def phases(periods: list[float], offset: float = 0.0) -> list[float]:
    """First beats for entries of one bus, so that entries of equal period are spread evenly over it.

    `offset`, 0 to 1 of a period, shifts all, so that buses do not beat together either.
    """
    totals: dict[float, int] = {}
    for period in periods:
        totals[period] = totals.get(period, 0) + 1
    seen: dict[float, int] = {}
    found = []
    for period in periods:
        turn = seen.get(period, 0)
        seen[period] = turn + 1
        found.append((turn / totals[period] + offset) % 1.0 * period)
    return found


class Schedule(Generic[Key]):
    """Entries by key. All times are monotonic seconds; the caller brings "now"."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._heap: list[tuple[float, int, int, Key]] = []
        self._count = 0
        self.skipped = 0
        """Beats that were never taken because they came too late, of all entries together."""

    def add(self, key: Key, period: float, first: float) -> None:
        """Beat every `period` seconds from `first` on. Raises ValueError for a key that is there already."""
        if key in self._entries or period <= 0:
            raise ValueError(f"{key}: there already, or period {period} is not above zero")
        entry = _Entry(first, period, 0, 0)
        self._entries[key] = entry
        self._push(key, entry, first)

    def remove(self, key: Key) -> None:
        """No more beats of `key`. Raises KeyError where there is none."""
        del self._entries[key]
        self._heap = [place for place in self._heap if place[3] != key]
        heapq.heapify(self._heap)

    def next(self) -> float:
        """When something is due next; infinite without entries."""
        return self._heap[0][0] if self._heap else math.inf

    def due(self, key: Key) -> float:
        """When the next regular beat of `key` is due."""
        return self._entries[key].due()

    def take(self, now: float) -> Beat[Key] | None:
        """The beat that has waited longest, or None where nothing is due at `now`."""
        while self._heap and self._heap[0][0] <= now:
            deadline, _, turn, key = heapq.heappop(self._heap)
            entry = self._entries[key]
            if turn != entry.turn:
                continue
            skipped, due = 0, entry.due()
            if due <= now:
                skipped = math.floor((now - due) / entry.period)
                entry.number += skipped
                deadline = entry.due()
                entry.number += 1
                self.skipped += skipped
            entry.turn += 1
            self._push(key, entry, entry.due())
            return Beat(key, deadline, skipped)
        return None

    def hurry(self, key: Key, now: float) -> None:
        """One extra beat of `key` at `now`; its regular beats stay where they are."""
        entry = self._entries[key]
        if entry.due() > now:
            entry.turn += 1
            self._push(key, entry, now)

    def _push(self, key: Key, entry: _Entry, at: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, entry.turn, key))
