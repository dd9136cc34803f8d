"""Windows that stay open over several batches: what a batch has taken of them waits here, in its state. Pure.

A personal device's window is longer than a batch. Its readings are numbered and settled with the batch that holds
them; what they add up to is handed on from batch to batch until the window has ended, and leaves with that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict, replace

from lamppost.model import GOOD, Quality, Severity, TimeQuality, Window

_TRUST = (TimeQuality.SYNCED, TimeQuality.HOLDOVER, TimeQuality.UNSYNCED)


@dataclass(frozen=True, slots=True)
class Deferred:
    """Parts of windows that are still open, one for each (start, device, point), in that order."""

    windows: tuple[Window, ...] = ()

    @property
    def count(self) -> int:
        """How many readings they stand for."""
        return sum(w.count for w in self.windows)

    def with_parts(self, parts: Iterable[Window]) -> Deferred:
        """With the windows of one more batch, each joined to what is known of it."""
        known = {(w.start, w.device, w.point): w for w in self.windows}
        for part in parts:
            key = (part.start, part.device, part.point)
            known[key] = joined(known[key], part) if key in known else part
        return Deferred(tuple(known[key] for key in sorted(known)))

    def closed(self, reach: int | None) -> tuple[list[Window], Deferred]:
        """The windows that end at or before `reach` (UTC nanoseconds), and the others; None closes nothing.

        A window that begins past `reach` was placed by a clock that has been corrected since; it closes too.
        """
        if reach is None:
            return [], self
        done = [w for w in self.windows if w.end <= reach or w.start > reach]
        return done, Deferred(
            tuple(w for w in self.windows if not (w.end <= reach or w.start > reach))
        )

    def to_plain(self) -> list[dict[str, Any]]:
        """As values that JSON knows; equal ones give equal values."""
        return [
            {**asdict(w), "quality": [int(w.quality.severity), w.quality.reason]}
            for w in self.windows
        ]

    @classmethod
    def from_plain(cls, stored: Iterable[dict[str, Any]]) -> Deferred:
        """What `to_plain` gave. Raises KeyError, TypeError or ValueError for anything else."""
        windows = []
        for fields in stored:
            severity, reason = fields["quality"]
            trust = TimeQuality(fields["time_quality"])
            quality = Quality(Severity(severity), reason)
            windows.append(Window(**{**fields, "quality": quality, "time_quality": trust}))
        return cls(tuple(windows))


def joined(one: Window, two: Window) -> Window:
    """Two parts of one window, `one` from the earlier batch.

    Counts and increases add up, the range widens, the mean is that of the parts weighted by their usable readings.
    """
    newest = two if two.observed >= one.observed else one
    elder = one if newest is two else two
    return replace(
        newest,
        time_quality=max(one.time_quality, two.time_quality, key=_TRUST.index),
        quality=_quality(one, two),
        good=one.good + two.good,
        uncertain=one.uncertain + two.uncertain,
        bad=one.bad + two.bad,
        last=newest.last if newest.last is not None else elder.last,
        mean=_mean(one, two),
        low=min((w.low for w in (one, two) if w.low is not None), default=None),
        high=max((w.high for w in (one, two) if w.high is not None), default=None),
        delta=None
        if one.delta is None and two.delta is None
        else (one.delta or 0.0) + (two.delta or 0.0),
    )


def _mean(one: Window, two: Window) -> float | None:
    parts = [(w.mean, w.good + w.uncertain) for w in (one, two) if w.mean is not None]
    weight = sum(usable for _, usable in parts)
    return sum(mean * (usable / weight) for mean, usable in parts) if parts else None


def _quality(one: Window, two: Window) -> Quality:
    """As `windows` judges: bad only if nothing was usable, then uncertain, then partial."""
    parts = (one, two)
    if not any(w.good + w.uncertain for w in parts):
        return one.quality
    for w in parts:
        if w.uncertain:
            return w.quality
    return Quality(Severity.UNCERTAIN, "partial") if any(w.bad for w in parts) else GOOD
