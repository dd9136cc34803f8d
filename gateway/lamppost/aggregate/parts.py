"""Windows of which the place in time, and what a counter did before them, are not known yet. Pure.

What the ring must give up is reduced long before it is sent: perhaps before the clock was ever synchronised, and
always before the counter's stand at the end of the newest batch is known. So a part keeps boot times, and the first
and last stand of a counter; `settle_parts` makes windows of parts on the way out, in order, as `reduce_windows` does of
samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lamppost.aggregate.carry import Carry, Key, Stand
from lamppost.aggregate.deferred import joined
from lamppost.aggregate.reduce import counted
from lamppost.aggregate.tally import Tally
from lamppost.aggregate.windows import IDENTITY
from lamppost.model import Instant, Quality, Scalar, TimeQuality, Window


@dataclass(frozen=True, slots=True)
class Part:
    """What one point did between `start` and `end`: boot times of `boot`, as `observed` of its newest sample.

    `first` and `stand` are a counter's first and last sound stand with their times, `inside` what was counted between
    them (None with a single one); of a text that names the meter, `first` is the first one told. The rest is as in
    `Window`.
    """

    device: str
    point: str
    boot: str
    start: int
    end: int
    observed: int
    quality: Quality
    good: int
    uncertain: int
    bad: int
    last: Scalar | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    first: tuple[Scalar, int] | None = None
    stand: tuple[float, int] | None = None
    inside: float | None = None

    @property
    def newest(self) -> Instant:
        """When its newest sample was taken."""
        return Instant(self.boot, self.observed)

    @property
    def count(self) -> int:
        """How many readings it stands for."""
        return self.good + self.uncertain + self.bad


@dataclass(frozen=True, slots=True)
class Placed:
    """A part with its place in time: UTC nanoseconds of its newest sample, and how far that may be trusted."""

    part: Part
    utc: int
    quality: TimeQuality


def part_of(
    tally: Tally, device: str, point: str, boot: str, start: int, end: int, observed: int
) -> Part:
    """What a tally says at its end."""
    ranged = tally.usable and not tally.counter
    return Part(
        device,
        point,
        boot,
        start,
        end,
        observed,
        tally.quality,
        tally.good,
        tally.uncertain,
        tally.bad,
        tally.last,
        tally.mean,
        float(tally.low) if ranged else None,
        float(tally.high) if ranged else None,
        None if tally.first is None else (tally.first, tally.first_at),
        None if tally.stand is None else (tally.stand, tally.stand_at),
        tally.inside,
    )


def settle_parts(parts: Iterable[Placed], carry: Carry) -> tuple[list[Window], Carry]:
    """Windows in the order of (start, device, point), and the carry after them.

    Parts of one window become one. A counter goes on from the carry's stand, unless the meter told another identity
    since; a part that lies before that stand counts nothing, as in `reduce_windows`.
    """
    stands, meters = dict(carry.stands), dict(carry.meters)
    windows: list[Window] = []
    ordered = sorted(parts, key=lambda p: (_start(p), p.part.device, p.part.point, p.utc))
    for _, group in groupby(ordered, key=lambda p: (_start(p), p.part.device)):
        members = list(group)
        exchanged = _exchanged(members, meters)
        for _, same in groupby(members, key=lambda p: p.part.point):
            window: Window | None = None
            for placed in same:
                piece = _window(placed, _advance(stands, placed, exchanged))
                window = joined(window, piece) if window else piece
            if window is not None:
                windows.append(window)
    return windows, Carry(stands, meters)


def widened(parts: Sequence[Placed], width: int) -> list[Placed]:
    """The parts in windows of `width` nanoseconds of UTC that hold their starts, where those are longer."""
    found = []
    for placed in parts:
        part, shift = placed.part, placed.utc - placed.part.observed
        if part.end - part.start < width:
            start = (part.start + shift) // width * width - shift
            placed = replace(placed, part=replace(part, start=start, end=start + width))
        found.append(placed)
    return found


def _start(placed: Placed) -> int:
    return placed.part.start + placed.utc - placed.part.observed


def _exchanged(members: Sequence[Placed], meters: dict[str, str]) -> bool:
    """Whether the meter that speaks here is another than the one before; takes note of who it is now."""
    other = False
    for placed in sorted(members, key=lambda p: p.utc):
        part = placed.part
        if part.point in IDENTITY and part.first is not None and isinstance(part.last, str):
            other |= meters.get(part.device, part.first[0]) != part.first[0]
            meters[part.device] = part.last
    return other


def _advance(stands: dict[Key, Stand], placed: Placed, exchanged: bool) -> float | None:
    part = placed.part
    if part.first is None or part.stand is None or isinstance(part.first[0], str):
        return None
    shift = placed.utc - part.observed
    key, total = (part.device, part.point), part.inside
    before = stands.get(key)
    if before is not None:
        if part.first[1] + shift < before[1]:
            return None  # it came late: what it saw is in a delta already
        step = 0.0 if exchanged else counted(before[0], part.first[0])[0]
        total = step + (total or 0.0)
    stands[key] = (part.stand[0], part.stand[1] + shift)
    return total


def _window(placed: Placed, delta: float | None) -> Window:
    part, shift = placed.part, placed.utc - placed.part.observed
    return Window(
        device=part.device,
        point=part.point,
        start=part.start + shift,
        end=part.end + shift,
        observed=placed.utc,
        time_quality=placed.quality,
        quality=part.quality,
        good=part.good,
        uncertain=part.uncertain,
        bad=part.bad,
        last=part.last,
        mean=part.mean,
        low=part.low,
        high=part.high,
        delta=delta,
    )
