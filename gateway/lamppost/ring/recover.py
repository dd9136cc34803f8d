"""From files to a Store, whatever state a power cut or a dying card left them in.

Reads the header, the head of every segment, and the newest segment of each lane: the cost does not grow with the
history. Everything else is looked at when it is read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lamppost.errors import StoreError
from lamppost.model import Batch
from lamppost.ring import retention
from lamppost.ring.absences import uncovered
from lamppost.ring.disk import Files
from lamppost.ring.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    HEADER_FILE,
    MAX_ASIDE,
    Block,
    Foreign,
    Header,
    Hole,
    Kind,
    Role,
    SegmentHead,
    blocks,
    pack_header,
    read_head,
    read_header,
    unpack_batch,
)
from lamppost.ring.segments import Lane, Pool, Segment, segment_number, segment_size
from lamppost.ring.store import Store

_ROLES = {Kind.BATCH: Role.HELD, Kind.KEPT: Role.KEPT}


@dataclass
class Recovered:
    """An opened store, and what only a look at its blocks could tell. `last` is the newest position."""

    store: Store
    last: int = -1
    batches: dict[int, Batch] = field(default_factory=dict)
    held: list[Batch] = field(default_factory=list)
    head: Batch | None = None


def recover(files: Files, folder: Path, size: int, segment: int | None) -> Recovered:
    """Open the ring in `folder`, or create it. `size` 0 keeps the size that it has.

    Raises OSError where the disk gives nothing at all, StoreError for files that are not ours to touch.
    """
    files.make_folder(folder)
    names = files.names(folder)
    numbers = sorted(n for name in names if (n := segment_number(name)) is not None)
    durable = _header(files, folder) if HEADER_FILE in names else None
    segments = [_load(files, folder, n) for n in numbers]
    lost = durable is None and any(s.head for s in segments)
    durable = durable or _rebuilt(segments) or _created(files, folder, size)
    heads = [s.head for s in segments if s.head and s.head.ring == durable.ring]
    header = replace(
        durable,
        opens=durable.opens + 1,
        clean=False,
        limit=size or durable.limit,
        evicted_through=max([durable.evicted_through, *(h.evicted_through for h in heads)]),
        evicted=max([durable.evicted, *(h.evicted for h in heads)]),
    )
    if lost:
        _place_for_header(files, folder)
    if not segment and header.limit == durable.limit:
        segment = max((s.size for s in segments), default=None)
    pool = Pool(files, folder, header.limit, segment or segment_size(header.limit))
    found = Recovered(Store(files, folder, header, durable, pool))
    found.store.damage = lost
    for s in segments:
        _sort_in(found.store, s)
    _kept(found)
    _log(found)
    _held(found)
    found.last = max(found.last, header.next - 1)
    _chain(found, lost)
    _reconcile(found)
    return found


def _chain(found: Recovered, lost: bool) -> None:
    """The batches in flight, in order. A broken chain ends the epoch: seq and numbers begin anew.

    Sealing a lost batch again would give other bytes under the same seq, which the hub must take for a clone.
    """
    store, batches = found.store, found.batches
    h, newest = store.header, max(found.batches, default=-1)
    if lost and batches:
        start = newest
        while start - 1 in batches:
            start -= 1
        settled = max(h.settled, h.origin + batches[start].span.first - 1)
        h = replace(h, settled=settled, settled_seq=max(h.settled_seq, start - 1))
    waiting = range(h.settled_seq + 1, newest + 1)
    if newest < max(h.settled_seq, h.sealed_seq) or any(n not in batches for n in waiting):
        h = replace(h, epoch=store.fresh_id(), origin=h.settled + 1, settled_seq=-1, sealed_seq=-1)
        store.damage = True
        store.end_held_lane()
    else:
        found.held = [batches[n] for n in waiting]
        found.head = batches.get(newest)
    store.header = h
    if found.head:
        store.sealed = h.origin + found.head.span.last
        found.last = max(found.last, store.sealed)


def _reconcile(found: Recovered) -> None:
    """Note what is missing among unsealed positions, and shrink to the budget if need be."""
    store = found.store
    after = max(store.header.settled, store.sealed)
    for first, last in uncovered(after + 1, found.last, sorted(_covered(store))):
        through = min(last, store.header.evicted_through)
        if first <= through:
            store.absent(first, through, retention.EVICTED)
        if last > through:
            store.absent(max(first, through + 1), last, "damaged")
    if store.pool.used > store.pool.limit:
        with suppress(OSError):  # tried again when it is opened next
            retention.shrink(store)


def _header(files: Files, folder: Path) -> Header | None:
    file = files.open(folder / HEADER_FILE)
    try:
        return read_header(file.pread(HEADER_BYTES, 0))
    except Foreign as foreign:
        raise _refusal(foreign, folder / HEADER_FILE) from None
    finally:
        file.close()


def _refusal(foreign: Foreign, path: Path) -> StoreError:
    if foreign.newer:
        return StoreError(
            f"{path} was written by a newer Lamppost ({foreign})",
            code="ring.newer-format",
            hint="install the newer version again, or move the folder away to begin a new ring",
        )
    return StoreError(
        f"{path} is no ring of Lamppost",
        code="ring.foreign",
        hint="give the ring a folder of its own; nothing in this one was touched",
    )


def _created(files: Files, folder: Path, size: int) -> Header:
    if not size:
        raise StoreError(
            f"no ring in {folder}", code="ring.absent", hint="name the folder of a gateway's ring"
        )
    header = Header(
        ring=files.random(16), epoch=files.random(16), turn=2, opens=0, origin=0, settled=-1,
        settled_seq=-1, sealed_seq=-1, next=0, evicted_through=-1, evicted=0, limit=size,
    )  # fmt: skip
    file = files.open(folder / HEADER_FILE, create=True)
    try:
        file.pwrite(pack_header(header).ljust(HEADER_BYTES, b"\0"), 0)
        file.fdatasync()
    finally:
        file.close()
    files.sync_folder(folder)
    return header


def _rebuilt(segments: Iterable[Segment]) -> Header | None:
    """A header from the copies in segment heads: its cursors may be behind, never ahead of a receipt."""
    heads = [s.head for s in segments if s.head]
    if not heads:
        return None
    h = max(heads, key=lambda head: head.serial)
    return Header(
        ring=h.ring, epoch=h.epoch, turn=0, opens=h.serial >> 32, origin=h.origin, settled=h.settled,
        settled_seq=h.settled_seq, sealed_seq=h.settled_seq, next=0, evicted_through=h.evicted_through,
        evicted=h.evicted, limit=h.limit,
    )  # fmt: skip


def _place_for_header(files: Files, folder: Path) -> None:
    with suppress(OSError):  # a disk that takes no writes is a state of its own
        file = files.open(folder / HEADER_FILE, create=True)
        try:
            if file.size() < HEADER_BYTES:
                file.pwrite(bytes(HEADER_BYTES), 0)
                file.fdatasync()
        finally:
            file.close()
        files.sync_folder(folder)


def _load(files: Files, folder: Path, number: int) -> Segment:
    segment = Segment(files, folder, number, 0)
    try:
        file = files.open(segment.path)
        try:
            segment.size = segment.end = file.size()
            segment.head = read_head(file.pread(HEAD_BYTES, 0))
        finally:
            file.close()
    except Foreign as foreign:
        raise _refusal(foreign, segment.path) from None
    except PermissionError:
        raise
    except OSError:
        segment.damaged = True  # the rest of it may still be read
    return segment


def _sort_in(store: Store, segment: Segment) -> None:
    """Give a segment its place: a lane, the free ones, or aside."""
    store.pool.all[segment.number] = segment
    header = store.header
    if segment.number in header.aside:
        return
    if segment.head is None:
        _salvage(store, segment)
    if segment.head is None:
        _unused(store, segment)
    elif segment.head.ring != header.ring:
        store.damage = True  # of another ring: not ours to overwrite
        store.header = replace(header, aside=(*header.aside, segment.number)[-MAX_ASIDE:])
    elif segment.head.role is Role.HELD and segment.head.epoch != header.epoch:
        store.pool.free.append(segment)
    else:
        segment.base = segment.head.base
        store.lanes[segment.head.role].segments.append(segment)


def _unused(store: Store, segment: Segment) -> None:
    store.pool.free.append(segment)
    if segment.size != store.pool.size:  # the power failed while it was being filled with zeros
        with suppress(OSError):
            store.pool.remove(segment)


def _salvage(store: Store, segment: Segment) -> None:
    """A segment without a head: what its blocks say it was."""
    h = store.header
    image = segment.image(HEAD_BYTES, segment.size, patient=True)
    found = [b for b in blocks(image, HEAD_BYTES, h.ring, None) if isinstance(b, Block)]
    if not found:
        return
    serial = max(b.serial for b in found)
    life = [b for b in found if b.serial == serial]
    segment.head = SegmentHead(
        ring=h.ring, epoch=h.epoch, role=_ROLES.get(life[0].kind, Role.LOG), serial=serial, previous=0,
        base=life[0].first, origin=h.origin, settled=h.settled, settled_seq=h.settled_seq,
        evicted_through=h.evicted_through, evicted=h.evicted, limit=h.limit,
    )  # fmt: skip
    segment.damaged = store.damage = True


def _log(found: Recovered) -> None:
    """Bounds of the LOG segments; the newest is read to its end."""
    store = found.store
    lane = store.lanes[Role.LOG]
    live: list[Segment] = []
    for segment in sorted(lane.segments, key=_serial, reverse=True):
        if live and segment.base >= live[-1].base:  # its only group was written again elsewhere
            store.pool.free.append(segment)
            continue
        following = live[-1] if live else None
        if following and following.head and following.head.previous == _serial(segment):
            segment.last = following.base - 1
        else:
            _read_through(segment)
            if following:
                segment.last = min(segment.last, following.base - 1)
        live.append(segment)
    lane.segments = live[::-1]
    _reopen(store, lane)
    if lane.segments:
        newest = lane.segments[-1]
        if not newest.whole:
            for _ in store.blocks_of(newest):
                pass  # notes the absences in it
        lane.closed = newest.damaged
        found.last = max(found.last, newest.last)


def _kept(found: Recovered) -> None:
    store, lane = found.store, found.store.lanes[Role.KEPT]
    _read_lane(store, lane)
    found.last = max([found.last, *(s.last for s in lane.segments)])


def _held(found: Recovered) -> None:
    store, lane = found.store, found.store.lanes[Role.HELD]
    _read_lane(store, lane)
    for segment in lane.segments:
        for block in segment.scan(patient=True):
            if isinstance(block, Block) and block.kind is Kind.BATCH:
                batch = unpack_batch(block)
                found.batches[batch.seq] = batch  # the one written last counts


def _read_lane(store: Store, lane: Lane) -> None:
    live = []
    for segment in sorted(lane.segments, key=_serial):
        if _read_through(segment):
            live.append(segment)
        else:
            store.pool.free.append(segment)
    lane.segments = live
    _reopen(store, lane)


def _read_through(segment: Segment) -> int:
    """Set `base`, `last` and `end` from the blocks; returns how many there are."""
    count, last, end = 0, segment.base - 1, HEAD_BYTES
    segment.whole = True
    for block in segment.scan(patient=True):
        if isinstance(block, Hole):
            segment.damaged = True
            segment.whole = False
            continue
        segment.whole &= block.kind is not Kind.GAP and block.first == last + 1
        count, end = count + 1, block.end
        segment.base = min(segment.base, block.first)
        last = max(last, block.last)
        segment.tail = block.offset
    segment.last, segment.end = last, end
    return count


def _reopen(store: Store, lane: Lane) -> None:
    """Go on in the newest segment, unless it is damaged."""
    if not lane.segments:
        return
    newest = lane.segments[-1]
    lane.previous = _serial(newest)
    lane.closed = newest.damaged
    store.damage |= newest.damaged


def confirm(store: Store) -> None:
    """Write what may have been read from memory and not from the disk once more.

    That is the newest block of every segment read at opening, after a process that died between write and sync or
    that met a failed sync. In older log segments such a block is hidden by the next segment. Raises OSError.
    """
    store.unsure = True
    for lane in store.lanes.values():
        for segment in lane.segments[-1:] if lane.role is Role.LOG else lane.segments:
            if segment.tail < segment.end:
                segment.confirm()
                if segment is not lane.open_segment:
                    segment.rest()
    store.unsure = False


def _covered(store: Store) -> Iterator[tuple[int, int]]:
    for segment in store.lanes[Role.LOG].segments:
        yield segment.base, segment.last
    yield from store.kept(-1, sys.maxsize)


def _serial(segment: Segment) -> int:
    return segment.head.serial if segment.head else 0
