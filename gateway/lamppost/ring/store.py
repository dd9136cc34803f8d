"""Header, segments and lanes: blocks in, records out. Positions only; batches and epochs are `ring.py`'s."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from lamppost.ring import retention
from lamppost.ring.absences import Absences, uncovered
from lamppost.ring.disk import IO_ERROR, Files, trouble_of
from lamppost.ring.format import (
    HEADER_FILE,
    SLOT,
    Block,
    Frame,
    Header,
    Hole,
    Kind,
    Role,
    SegmentHead,
    pack_block,
    pack_header,
    unpack_records,
    unpack_why,
)
from lamppost.ring.records import Numbered
from lamppost.ring.segments import Lane, Pool, Segment


class Store:
    """A ring on a disk. `header` is what is meant, `durable` what the disk is known to hold."""

    def __init__(
        self, files: Files, folder: Path, header: Header, durable: Header, pool: Pool
    ) -> None:
        self._files = files
        self._folder = folder
        self.header = header
        self.durable = durable
        self.pool = pool
        self.lanes = {role: Lane(role) for role in Role}
        self.absences = Absences()
        self.sealed = -1  # position through which readings are in a durable batch
        self.offer: Callable[[list[Numbered]], bool] | None = (
            None  # asked before records are evicted
        )
        self.damage = False
        self.stalled = False  # the last write failed
        self.unsure = False  # a write failed: what is read back may be in memory only
        self._serial = header.opens << 32

    # -- writing -----------------------------------------------------------------------------------

    def save(self) -> None:
        """Make `header` durable in the older of the two slots. Raises OSError; the newer slot is then untouched."""
        header = replace(self.header, turn=self.durable.turn + 1)
        file = self._files.open(self._folder / HEADER_FILE)
        try:
            file.pwrite(pack_header(header), SLOT * (header.turn % 2))
            file.fdatasync()
        finally:
            file.close()
        self.header = self.durable = header

    def sign_off(self, following: int, *, clean: bool) -> None:
        """Make the cursors durable for the last time. Raises OSError."""
        if self.durable.opens == self.header.opens or not self.durable.clean:
            self.header = replace(self.header, next=following, clean=clean and not self.unsure)
            self.save()

    def alive(self) -> bool:
        """Whether the disk as a whole takes writes: then an error belongs to one segment."""
        try:
            self.save()
        except OSError:
            return False
        return True

    def write(self, role: Role, what: Frame) -> None:
        """One durable block in the lane of `role`. Raises OSError; nothing acknowledged is touched then.

        A segment that fails is left behind, and where the rest of the disk works the block goes to the next one
        at once: after a failed fdatasync the page cache is not to be believed.
        """
        if self.durable.opens < self.header.opens:
            self.save()  # from here on the ring is in use, and no serial number of this opening comes again
        for attempt in range(3):
            segment = self._segment_for(role, what.room)
            fresh = segment.head is None
            try:
                self._put(segment, role, what)
                self.stalled = False
                return
            except OSError as failed:
                self.unsure = self.stalled = True
                segment.rest()
                if fresh:
                    self.pool.free.append(segment)
                if failed.errno == errno.EBADF and attempt == 0:
                    continue  # opened while the disk was read-only; it may take writes by now
                broken = trouble_of(failed) == IO_ERROR
                # A new segment may have got there after all: nothing must go behind it in the old one.
                self.lanes[role].closed |= broken or fresh
                if attempt == 2 or not broken or not self.alive():
                    raise
                self._condemn(segment)

    def _segment_for(self, role: Role, room: int) -> Segment:
        segment = self.lanes[role].open_segment
        if segment is not None and segment.room >= room:
            return segment
        segment = retention.take(self, rescuing=role is Role.KEPT)
        segment.head = None
        return segment

    def _put(self, segment: Segment, role: Role, what: Frame) -> None:
        lane, ring = self.lanes[role], self.header.ring
        if segment.head is not None:
            segment.put(pack_block(what, ring, segment.head.serial))
        else:
            self._serial += 1
            serial, before = self._serial, lane.open_segment
            head = self._head(role, serial, lane.previous, what.first)
            segment.begin(head, pack_block(what, ring, serial))
            if before is not None:
                before.rest()
            lane.segments.append(segment)
            lane.previous, lane.closed = serial, False
        segment.base = min(segment.base, what.first)
        segment.last = max(segment.last, what.last)

    def _head(self, role: Role, serial: int, previous: int, base: int) -> SegmentHead:
        h = self.header
        return SegmentHead(
            ring=h.ring,
            epoch=h.epoch,
            role=role,
            serial=serial,
            previous=previous,
            base=base,
            origin=h.origin,
            settled=self.durable.settled,
            settled_seq=self.durable.settled_seq,
            evicted_through=h.evicted_through,
            evicted=h.evicted,
            limit=h.limit,
        )

    def _condemn(self, segment: Segment) -> None:
        segment.damaged = self.damage = True
        if segment in self.pool.free:
            self.pool.free.remove(segment)
            retention.set_free(self, segment)

    # -- reading -----------------------------------------------------------------------------------

    def records(self, after: int) -> Iterator[Numbered]:
        """Records whose first position is past `after`, in order. Notes absences as it meets them."""
        lanes = self.lanes[Role.LOG].segments + self.lanes[Role.KEPT].segments
        segments = sorted((s for s in lanes if s.last > after), key=lambda s: s.base)
        newest = after
        for record in self._merged(segments, after):
            if record.first > newest:
                newest = record.last
                yield record

    def _merged(self, segments: list[Segment], after: int) -> Iterator[Numbered]:
        active: list[tuple[int, int, Numbered, Iterator[Numbered]]] = []
        for turn, segment in enumerate(segments):
            records = self._records_of(segment, after)
            if first := next(records, None):
                heapq.heappush(active, (first.first, turn, first, records))
            until = segments[turn + 1].base if turn + 1 < len(segments) else None
            while active and (until is None or active[0][0] < until):
                _, which, record, more = active[0]
                yield record
                if following := next(more, None):
                    heapq.heapreplace(active, (following.first, which, following, more))
                else:
                    heapq.heappop(active)

    def _records_of(self, segment: Segment, after: int) -> Iterator[Numbered]:
        found = (
            r for b in self.blocks_of(segment, after) if b.last > after for r in unpack_records(b)
        )
        if segment.head and segment.head.role is Role.KEPT:
            found = (r for r in sorted(found))  # rescues may come out of order
        for record in found:
            if record.first > after and record.last <= segment.last:
                yield record

    def blocks_of(self, segment: Segment, after: int = -1) -> Iterator[Block]:
        """The record blocks of a LOG or KEPT segment, from the one that holds what comes after `after`.

        What should be there and is not is noted as an absence.
        """
        log = segment.head is not None and segment.head.role is Role.LOG
        expected, at = segment.base, None
        if segment.mark and segment.mark[0] - 1 <= after:
            expected, at = segment.mark
        for block in self._good_blocks(segment, at):
            if log and block.first > expected:
                self._damaged(segment, expected, min(block.first - 1, segment.last))
            expected = max(expected, block.last + 1)
            if block.kind is Kind.GAP:
                self.absent(block.first, block.last, unpack_why(block))
                continue
            if log and block.first - 1 <= after:
                segment.mark = (block.first, block.offset)
            yield block
        if log and expected <= segment.last:
            self._damaged(segment, expected, segment.last)

    def _good_blocks(self, segment: Segment, at: int | None) -> Iterator[Block]:
        try:
            found = segment.scan(at) if at else segment.scan()
        except OSError as failed:
            if trouble_of(failed) != IO_ERROR or not self.alive():
                raise
            found = segment.scan(at, patient=True) if at else segment.scan(patient=True)
        for block in found:
            if isinstance(block, Hole):
                segment.damaged = self.damage = True
            else:
                yield block

    def _damaged(self, segment: Segment, first: int, last: int) -> None:
        if first <= last:
            segment.damaged = self.damage = True
            for low, high in uncovered(first, last, sorted(self.kept(first, last))):
                self.absent(low, high, "damaged")

    def kept(self, first: int, last: int, but: Segment | None = None) -> Iterator[tuple[int, int]]:
        """Where segments of the KEPT lane (`but` one) hold records between `first` and `last`."""
        for segment in self.lanes[Role.KEPT].segments:
            if segment is not but and segment.base <= last and segment.last >= first:
                for block in self.blocks_of(segment):
                    yield from ((r.first, r.last) for r in unpack_records(block))

    def absent(self, first: int, last: int, why: str) -> int:
        """Note that positions are absent, unless they are settled; returns how many that is news for."""
        first = max(first, self.header.settled + 1)
        return self.absences.add(first, last, why) if first <= last else 0

    def fresh_id(self) -> bytes:
        """A new epoch's id."""
        return self._files.random(16)

    def end_held_lane(self) -> None:
        """No batch counts any more: the epoch has ended."""
        lane = self.lanes[Role.HELD]
        for segment in lane.segments:
            retention.set_free(self, segment)
        lane.segments = []

    def close(self) -> None:
        """Give all files back."""
        for segment in self.pool.all.values():
            segment.rest()
