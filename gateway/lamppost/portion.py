"""ring, coarse ring → what the next batch answers for: a contiguous range of numbers, every one accounted for.

Readings that the ring still has go out as they are. Where it had to give some up, the group of coarse windows that
holds them goes out whole, in its place in the order; what not even a window stands for is a gap with its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lamppost.aggregate import Timed
from lamppost.aggregate.parts import Part, Placed
from lamppost.model import Gap, Instant, Sample, Span
from lamppost.packing import read
from lamppost.reduction import Reduction, Windows
from lamppost.ring import Ring, Stored
from lamppost.ring.absences import uncovered
from lamppost.ring.retention import EVICTED, REDUCED
from lamppost.timeline import Timeline

log = logging.getLogger("lamppost.portion")

READ_BYTES = 256 * 1024
BATCH_READINGS = 4_000  # a backlog goes out in batches of at least this many, cut at a window's end
BATCH_PARTS = 1_000  # coarse windows in a batch, about
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Until:
    """Now, by the boot clock and in UTC, and where what is due ends (nanoseconds); `closed` is the end of the newest
    closed window, which `boundary` passes when open windows are flushed.

    All are None while the clock of the running boot is unknown: then only what earlier boots left is due.
    """

    now: Instant
    utc: int | None
    boundary: int | None
    closed: int | None

    def due(self, at: Instant, utc: int) -> bool:
        """Whether a sample taken at `at` and placed at `utc` may go: nothing can join its window any more.

        A sample that lies ahead of now was placed by a clock since corrected; waiting would not close its window.
        """
        if self.utc is None or self.boundary is None:
            return at.boot != self.now.boot
        ahead = utc > self.utc and (at.boot != self.now.boot or at.ns <= self.now.ns)
        return utc < self.boundary or ahead


@dataclass(frozen=True, slots=True)
class Resolution:
    """Numbers that go out as windows of `width` nanoseconds; `readings` of them are in the windows."""

    span: Span
    readings: int
    width: int


@dataclass(frozen=True, slots=True)
class Portion:
    """The readings of one batch: timed samples of whole windows, coarse parts, gaps, and the last number they reach."""

    samples: list[Timed]
    last: int
    newest: int  # UTC of the newest sample
    reach: int | None  # UTC before which nothing more will come; None while unknown
    full: bool  # must go, even if it closes no window
    gaps: list[Gap] = field(default_factory=list)
    parts: list[Placed] = field(default_factory=list)
    reduced: list[Resolution] = field(default_factory=list)


class Portions:
    """Cuts the unsealed part of a ring, and of the coarse ring beside it, into portions of whole windows."""

    def __init__(self, timeline: Timeline, width: int, reduction: Reduction | None = None) -> None:
        self._timeline = timeline
        self._width = width
        self._readings, self._parts = BATCH_READINGS, BATCH_PARTS
        self._reduction = reduction

    def pace(self, width: int, readings: int) -> None:
        """From now on windows are `width` nanoseconds long, and a backlog's batches hold about so many readings."""
        self._width, self._readings, self._parts = width, readings, BATCH_PARTS

    def halve(self) -> bool:
        """Half as many readings from now on, until `pace` says otherwise; False where that would be none."""
        self._readings //= 2
        self._parts //= 2
        return self._readings > 0

    def next(self, ring: Ring, after: int, until: Until) -> Portion | None:
        """What comes behind number `after`, None where nothing is due."""
        missing = ring.gaps(after)
        groups = self._groups(ring, after, missing)
        coarse = next(groups, None)
        if coarse is None:
            return self._raw(ring, after, until, None)
        first = ring.read(after, 1)
        if first and first[0].span.first < coarse.span.first:
            return self._raw(ring, after, until, coarse.span.first)
        return self._coarse(ring, after, [coarse, *self._more(ring, coarse, groups)], until)

    # -- as it was read ----------------------------------------------------------------------------

    def _raw(self, ring: Ring, after: int, until: Until, stop: int | None) -> Portion | None:
        """Records up to the first that is not due, up to number `stop`, or in a long backlog up to a window's end."""
        samples: list[Timed] = []
        skipped: list[Span] = []
        last, readings, newest, clock, reach = -1, 0, 0, ("", 0), until.closed
        stopped = False
        for record in _records(ring, after):
            if stop is not None and record.span.first >= stop:
                stopped = True
                break
            sample = _sample(record)
            if sample is None:
                skipped.append(record.span)
                continue
            placed = self._timeline.utc(sample.at)
            if placed is None or not until.due(sample.at, placed[0]):
                break
            window, by = placed[0] // self._width, self._timeline.clock_of(sample.at)
            if readings >= self._readings and (window > newest or by != clock):
                reach = min(placed[0], reach) if reach is not None else None
                break
            newest = max(newest, window) if by == clock else window
            clock = by
            samples.append(Timed(sample, *placed))
            last = record.span.last
            readings += record.span.count
        if not samples:
            return None
        gaps = _named(
            after, last, ring.gaps(after), skipped, []
        )  # damage is known once it was read
        full = stopped or readings >= self._readings
        return Portion(samples, last, samples[-1].utc, reach, full, gaps)

    # -- as windows --------------------------------------------------------------------------------

    def _groups(self, ring: Ring, after: int, missing: Sequence[Gap]) -> Iterator[Windows]:
        """Groups behind `after` of which the ring has given up a reading; spans are numbers of this epoch."""
        if self._reduction is None or not missing:
            return
        origin = ring.origin
        for group in self._reduction.groups(after + origin):
            span = _shifted(group.span, -origin)
            if span.first > missing[-1].span.last:
                return
            if span.first > after and any(_meet(span, gap.span) for gap in missing):
                covered = tuple(_shifted(s, -origin) for s in group.covered)
                yield Windows(span, covered, group.parts, group.reach, group.width)

    def _more(self, ring: Ring, first: Windows, groups: Iterator[Windows]) -> Iterator[Windows]:
        """The groups that go out with the first one: as many as a batch should have, with no record in between."""
        last, parts = first.span.last, len(first.parts)
        for group in groups:
            parts += len(group.parts)
            between = ring.read(last, 1)
            if parts > self._parts or (between and between[0].span.first < group.span.first):
                return
            yield group
            last = group.span.last

    def _coarse(
        self, ring: Ring, after: int, groups: Sequence[Windows], until: Until
    ) -> Portion | None:
        parts = [self._placed_part(p) for g in groups for p in g.parts]
        last = groups[-1].span.last
        covered = [span for group in groups for span in group.covered]
        samples, fine, skipped = self._between(ring, after, last, covered)
        placed = [p for p in parts if p is not None]
        timed = [t for t in samples if t is not None]
        if len(placed) < len(parts) or len(timed) < len(samples):
            return None  # the clock of their boot is awaited
        gaps = _named(after, last, ring.gaps(after), skipped, sorted(covered + fine, key=_first))
        end = self._timeline.utc(groups[-1].reach)
        reach = min(end[0], until.closed) if end and until.closed is not None else None
        newest = max([p.utc for p in placed] + [t.utc for t in timed], default=0)
        reduced = [
            Resolution(g.span, sum(s.count for s in g.covered), g.width)
            for g in groups
            if g.covered
        ]
        return Portion(timed, last, newest, reach, True, gaps, placed, _merged(reduced))

    def _placed_part(self, part: Part) -> Placed | None:
        placed = self._timeline.utc(part.newest)
        return Placed(part, *placed) if placed else None

    def _between(
        self, ring: Ring, after: int, last: int, covered: Sequence[Span]
    ) -> tuple[list[Timed | None], list[Span], list[Span]]:
        """Records that no window counts: urgent ones. Samples, their spans, and the spans of unreadable ones."""
        samples: list[Timed | None] = []
        fine: list[Span] = []
        skipped: list[Span] = []
        for record in _records(ring, after):
            if record.span.first > last:
                break
            if any(s.first <= record.span.first <= s.last for s in covered):
                continue
            sample = _sample(record)
            if sample is None:
                skipped.append(record.span)
                continue
            placed = self._timeline.utc(sample.at)
            samples.append(Timed(sample, *placed) if placed else None)
            fine.append(record.span)
        return samples, fine, skipped


def _records(ring: Ring, after: int) -> Iterator[Stored]:
    """Records behind `after`: few at first, for often few are needed."""
    limit = READ_BYTES // 64
    while stored := ring.read(after, limit):
        yield from stored
        after = stored[-1].span.last
        limit = min(limit * 4, READ_BYTES)


def _sample(record: Stored) -> Sample | None:
    """The sample of a record; None for one that this version cannot read, which must not stop the others."""
    try:
        sample = read(record.payload)
    except ValueError as wrong:
        log.error("readings %s are unreadable: %s", record.span, wrong)
        return None
    return sample if len(sample.readings) == record.span.count else None


def _named(
    after: int,
    last: int,
    missing: Iterable[Gap],
    skipped: Sequence[Span],
    covered: Sequence[Span],
) -> list[Gap]:
    """Absences from `after` to `last` that nothing in `covered` stands for, each with its reason."""
    reasons = [Gap(span, UNREADABLE) for span in skipped]
    reasons += [Gap(g.span, EVICTED if g.why == REDUCED else g.why) for g in missing]
    there = [(s.first, s.last) for s in covered]
    found: list[Gap] = []
    for gap in sorted(reasons, key=lambda g: g.span.first):
        first, end = max(gap.span.first, after + 1), min(gap.span.last, last)
        found += [Gap(Span(a, b), gap.why) for a, b in uncovered(first, end, there)]
    return found


def _merged(reduced: Iterable[Resolution]) -> list[Resolution]:
    """Neighbours of one width as one."""
    found: list[Resolution] = []
    for r in reduced:
        if found and found[-1].width == r.width and found[-1].span.last + 1 == r.span.first:
            before = found.pop()
            r = Resolution(
                Span(before.span.first, r.span.last), before.readings + r.readings, r.width
            )
        found.append(r)
    return found


def _meet(one: Span, two: Span) -> bool:
    return one.first <= two.last and two.first <= one.last


def _shifted(span: Span, by: int) -> Span:
    return Span(span.first + by, span.last + by)


def _first(span: Span) -> int:
    return span.first
