"""One point in one coarse window while it fills: constant memory, whatever the number of readings. Pure.

The rules are those of `reduce` and `windows`, reading by reading. A number that comes late, behind a newer one of the
same window, counts and widens the range, but has no weight in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from lamppost.aggregate.reduce import counted
from lamppost.aggregate.windows import DOUBTFUL_STANDS, IDENTITY
from lamppost.model import GOOD, Quality, Scalar, Severity


class Tally:
    """Counts, range and mean of a gauge; stands of a counter. Times are nanoseconds of one clock."""

    __slots__ = (
        "area",
        "bad",
        "bad_reason",
        "began",
        "counter",
        "first",
        "first_at",
        "good",
        "high",
        "inside",
        "last",
        "low",
        "stand",
        "stand_at",
        "told",
        "total",
        "uncertain",
        "uncertain_reason",
        "usable",
        "value",
        "value_at",
    )

    def __init__(self, point: str, counter: bool) -> None:
        self.counter = counter
        self.told = point in IDENTITY
        self.good = self.uncertain = self.bad = 0
        self.uncertain_reason = self.bad_reason = ""
        self.last: Scalar | None = None
        self.usable = 0  # numbers taken in order of time
        self.began = self.value_at = 0
        self.value = self.low = self.high = self.area = self.total = 0.0
        self.first: Scalar | None = None
        self.first_at = 0
        self.stand: float | None = None
        self.stand_at = 0
        self.inside: float | None = None

    def take(self, at: int, value: Scalar | None, severity: int, reason: str) -> None:
        """Any reading."""
        if severity == Severity.GOOD:
            self.good += 1
        elif severity == Severity.UNCERTAIN:
            self.uncertain += 1
            self.uncertain_reason = self.uncertain_reason or reason
        else:
            self.bad += 1
            self.bad_reason = self.bad_reason or reason
            return
        if isinstance(value, (bool, str)):
            if self.told and isinstance(value, str) and self.first is None:
                self.first, self.first_at = value, at
            if self.last is None or at >= self.value_at:
                self.last, self.value_at = value, at
        elif value is not None and isfinite(value):
            if self.counter and reason not in DOUBTFUL_STANDS:
                self.count_on(at, value)
            self._number(at, value)

    @property
    def mean(self) -> float | None:
        """Weighted by time as `reduce.time_weighted_mean`; None for a counter and where no number came."""
        if self.counter or not self.usable:
            return None
        covered = self.value_at - self.began
        mean = self.area / covered if covered > 0 else self.total / self.usable
        return min(max(mean, self.low), self.high)

    @property
    def quality(self) -> Quality:
        """As `windows` judges a window."""
        if self.uncertain:
            return Quality(Severity.UNCERTAIN, self.uncertain_reason)
        if not self.good:
            return Quality(Severity.BAD, self.bad_reason)
        return Quality(Severity.UNCERTAIN, "partial") if self.bad else GOOD

    def _number(self, at: int, value: float) -> None:
        if not self.usable:
            self.began = at
            self.low = self.high = value
        elif at < self.value_at:
            self.low, self.high = min(self.low, value), max(self.high, value)
            return
        else:
            self.area += (self.value / 2 + value / 2) * (at - self.value_at)
            if value < self.low:
                self.low = value
            elif value > self.high:
                self.high = value
        self.usable += 1
        self.total += value
        self.value, self.value_at, self.last = value, at, value

    def count_on(self, at: int, value: float) -> None:
        """A sound stand of a counter."""
        if self.stand is None:
            self.first, self.first_at = value, at
            self.stand, self.stand_at = value, at
        elif at >= self.stand_at:
            step, self.stand = counted(self.stand, value)
            self.inside = (self.inside or 0.0) + step
            self.stand_at = at


class Row:
    """The tallies of the points of one device. Samples of good floats in order of time, nearly all, go as columns."""

    def __init__(self, points: Sequence[str], counters: Sequence[bool]) -> None:
        self._each = [Tally(p, c) for p, c in zip(points, counters, strict=True)]
        self._counting = [tally for tally in self._each if tally.counter]
        self._which = [i for i, tally in enumerate(self._each) if tally.counter]
        self._apart = False  # each tally takes its own readings
        self._taken = 0
        self._began = self._newest = 0
        self._area: list[float] = []
        self._low: Sequence[float] = ()
        self._high: Sequence[float] = ()
        self._values: Sequence[float] = ()

    def take(self, at: int, values: Sequence[Scalar | None], marks: Sequence[Any]) -> None:
        """One sample: a value for each point; `marks` as `packing.Columns` has them."""
        plain = not marks and type(values) is tuple and isfinite(sum(values))
        if plain and not self._apart and (not self._taken or at > self._newest):
            self._as_columns(at, values)  # type: ignore[arg-type]
            return
        self._spill()
        told = {i: (s, r) for i, s, r in zip(marks[::3], marks[1::3], marks[2::3], strict=True)}
        for index, (tally, value) in enumerate(zip(self._each, values, strict=True)):
            tally.take(at, value, *told.get(index, (0, "good")))

    def tallies(self) -> list[Tally]:
        """One for each point."""
        self._spill()
        return self._each

    def _as_columns(self, at: int, values: Sequence[float]) -> None:
        if not self._taken:
            self._began, self._low, self._high = at, values, values
            self._area = [0.0] * len(values)
        else:
            half = (at - self._newest) / 2
            self._area = [
                a + v * half + w * half
                for a, v, w in zip(self._area, self._values, values, strict=True)
            ]
            self._low = [v if v < w else w for v, w in zip(values, self._low, strict=True)]
            self._high = [v if v > w else w for v, w in zip(values, self._high, strict=True)]
        for tally, index in zip(self._counting, self._which, strict=True):
            tally.count_on(at, values[index])
        self._taken += 1
        self._values, self._newest = values, at

    def _spill(self) -> None:
        """Give what went as columns to the tallies; from here on they take everything."""
        if self._apart:
            return
        self._apart = True
        if not self._taken:
            return
        rows = zip(self._each, self._area, self._low, self._high, self._values, strict=True)
        for tally, area, low, high, value in rows:
            tally.good = tally.usable = self._taken
            tally.began, tally.value_at = self._began, self._newest
            tally.area, tally.low, tally.high = area, low, high
            tally.value = tally.last = value
            tally.total = value  # counts only where all came at one time
