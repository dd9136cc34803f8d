"""Ranges of positions that are numbered and not there, and why. Sorted, disjoint; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Absence(NamedTuple):
    """Positions `first` to `last` are not there."""

    first: int
    last: int
    why: str


class Absences:
    """A growing set of absences. What was recorded first keeps its reason."""

    def __init__(self) -> None:
        self._ranges: list[Absence] = []

    def __iter__(self) -> Iterator[Absence]:
        return iter(self._ranges)

    def add(self, first: int, last: int, why: str) -> int:
        """Record that `first` to `last` are absent; returns how many of them are new."""
        fresh = [
            Absence(low, high, why)
            for low, high in uncovered(first, last, ((r.first, r.last) for r in self._ranges))
        ]
        if fresh:
            self._ranges = _joined(sorted(self._ranges + fresh))
        return sum(f.last - f.first + 1 for f in fresh)

    def rename(self, why: str, to: str, through: int) -> None:
        """Give what is absent for `why`, up to `through`, another reason."""
        for r in [r for r in self._ranges if r.why == why and r.first <= through]:
            self._ranges.remove(r)
            self._ranges.append(r._replace(last=min(r.last, through), why=to))
            if r.last > through:
                self._ranges.append(r._replace(first=through + 1))
        self._ranges = _joined(sorted(self._ranges))

    def forget(self, through: int) -> None:
        """Drop what ends at or before `through`."""
        self._ranges = [r for r in self._ranges if r.last > through]


def uncovered(
    first: int, last: int, covered: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """The parts of `first` to `last` that no range in `covered` (sorted by start) reaches."""
    for low, high in covered:
        if low > last:
            break
        if low > first:
            yield first, low - 1
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def _joined(ranges: list[Absence]) -> list[Absence]:
    joined: list[Absence] = []
    for r in ranges:
        if joined and joined[-1].why == r.why and joined[-1].last + 1 == r.first:
            joined[-1] = joined[-1]._replace(last=r.last)
        else:
            joined.append(r)
    return joined
