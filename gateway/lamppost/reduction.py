"""ring → aggregate → coarse ring: what must be given up before the hub has it is kept as long windows instead.

Runs inside `Ring.append`, on the ring's thread, when the ring is full of readings that are in no batch. It looks ahead
to the end of the window that the oldest segment lies in, so that windows are whole where the ring holds more than one.
Urgent records are left out: the ring keeps those itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from lamppost.aggregate.partbytes import pack_parts, unpack_parts
from lamppost.aggregate.parts import Part, part_of
from lamppost.aggregate.tally import Row
from lamppost.model import Instant, Span
from lamppost.packing import columns
from lamppost.ring import Ring
from lamppost.ring.coarse import CoarseRing, Group
from lamppost.ring.records import Numbered
from lamppost.timeline import Timeline

log = logging.getLogger("lamppost.reduction")


@dataclass(frozen=True, slots=True)
class Windows:
    """A group read back. Nothing older than `reach` comes behind it; `width` is that of the windows, nanoseconds."""

    span: Span
    covered: tuple[Span, ...]
    parts: list[Part]
    reach: Instant
    width: int


@dataclass(slots=True)
class _Cell:
    """Points of one device in one window: a tally for each."""

    boot: str
    device: str
    names: tuple[str, ...]
    start: int
    end: int
    row: Row
    observed: int


@dataclass(slots=True)
class _Gathering:
    """A group while it fills. `clock` and `window` are those of its first sample, `reach` where the next one begins."""

    cells: dict[tuple[str, str, tuple[str, ...], int], _Cell] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    first: int = -1
    last: int = -1
    clock: tuple[str, int] | None = None
    shift: int = 0  # from its clock to UTC, 0 while that is unknown
    window: int = 0
    reach: Instant | None = None
    whole: bool = False


class Reduction:
    """Gives one ring a coarse one. `kinds` tells gauges from counters, `longer` names devices with wider windows."""

    def __init__(
        self,
        ring: Ring,
        coarse: CoarseRing,
        timeline: Timeline,
        kinds: Mapping[tuple[str, str], str],
        *,
        width: int,
        longer: Mapping[str, int] | None = None,
    ) -> None:
        self.coarse = coarse
        self._ring = ring
        self._timeline = timeline
        self._kinds = kinds
        self._width = width
        self._longer = longer or {}
        ring.reduce_with(self.take, coarse.covered_through(ring.identity))

    def take(self, lost: Sequence[Numbered]) -> bool:
        """Reduce at least what is about to be lost. True if the windows are durable."""
        through = lost[-1].last
        while self._done() < through:
            gathering = self._gather(None)
            if not gathering.whole:  # the ring is shorter than a window: only what has to go
                gathering = self._gather(through)
            if not self._keep(gathering):
                return False
        return True

    def groups(self, after: int) -> Iterator[Windows]:
        """Groups that reach past position `after`, in order; spans are positions. What cannot be read is left out."""
        for group in self.coarse.after(self._ring.identity, after):
            try:
                heading, *payloads = group.payloads
                boot, reach, width = msgspec.msgpack.decode(heading)
                parts = [part for payload in payloads for part in unpack_parts(payload)]
                yield Windows(group.span, group.covered, parts, Instant(boot, reach), width)
            except (ValueError, TypeError, msgspec.MsgspecError) as wrong:
                log.error("windows of positions %s are unreadable: %s", group.span, wrong)

    def _done(self) -> int:
        return max(self.coarse.covered_through(self._ring.identity), self._ring.sealed_through)

    def _gather(self, through: int | None) -> _Gathering:
        """The next window's samples, up to the first one of a later window or clock, or up to position `through`."""
        into = _Gathering()
        for record in self._ring.positions(self._done()):
            if through is not None and record.first > through:
                into.whole = True
                break
            if not record.urgent:
                self._add(into, record)
                if into.whole:
                    break
            into.first = record.first if into.first < 0 else into.first
            into.last = record.last
        return into

    def _add(self, into: _Gathering, record: Numbered) -> None:
        """Count a record's readings; one of a later window makes the group `whole` instead."""
        try:
            boot, ns, device, names, values, marks = columns(record.payload)
            if len(names) != record.readings:
                raise ValueError(f"{len(names)} readings instead of {record.readings}")
        except ValueError as wrong:
            log.error("a record at position %d is unreadable: %s", record.first, wrong)
            return
        at = Instant(boot, ns)
        clock = self._timeline.clock_of(at)
        if into.clock is None:
            into.clock, into.shift = clock, self._shift(at)
            into.window = (ns + into.shift) // self._width
        elif clock != into.clock or (ns + into.shift) // self._width > into.window:
            into.whole, into.reach = True, at
            return
        self._cell(into, at, device, names).take(ns, values, marks)
        if into.spans and into.spans[-1].last + 1 == record.first:
            into.spans[-1] = Span(into.spans[-1].first, record.last)
        else:
            into.spans.append(Span(record.first, record.last))

    def _cell(self, into: _Gathering, at: Instant, device: str, names: tuple[str, ...]) -> Row:
        width = self._longer.get(device, self._width)
        start = (at.ns + into.shift) // width * width - into.shift
        key = (at.boot, device, names, start)
        cell = into.cells.get(key)
        if cell is None:
            row = Row(names, [self._kinds.get((device, name)) == "counter" for name in names])
            cell = into.cells[key] = _Cell(at.boot, device, names, start, start + width, row, at.ns)
        cell.observed = max(cell.observed, at.ns)
        return cell.row

    def _shift(self, at: Instant) -> int:
        placed = self._timeline.utc(at)
        return placed[0] - at.ns if placed else 0

    def _keep(self, g: _Gathering) -> bool:
        if g.first < 0:
            return False
        cells = [g.cells[key] for key in sorted(g.cells)]
        newest = max((c.observed for c in cells), default=0)
        reach = g.reach or Instant(g.clock[0] if g.clock else "", newest)
        heading = msgspec.msgpack.encode([reach.boot, reach.ns, self._width])
        payloads = [heading, *(pack_parts(_parts(cell)) for cell in cells)]
        span = Span(g.first, g.last)
        return self.coarse.put(Group(self._ring.identity, span, tuple(g.spans), tuple(payloads)))


def _parts(cell: _Cell) -> list[Part]:
    return [
        part_of(tally, cell.device, name, cell.boot, cell.start, cell.end, cell.observed)
        for name, tally in zip(cell.names, cell.row.tallies(), strict=True)
    ]
