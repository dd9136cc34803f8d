"""What the ring lets go when it needs room: settled first, then sealed, then the oldest ordinary records.

One free segment is always kept back, so that urgent records can be saved out of a segment before it is given up.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lamppost.ring.absences import uncovered
from lamppost.ring.disk import DISK_FULL, trouble_of
from lamppost.ring.format import MAX_ASIDE, Kind, Role, frame, pack_kept, unpack_records
from lamppost.ring.records import Numbered
from lamppost.ring.segments import Segment

if TYPE_CHECKING:
    from lamppost.ring.store import Store

EVICTED, REDUCED = "evicted", "reduced"
_RESERVE = 1
_RESCUE_BYTES = 16 * 1024  # in one KEPT block
_ROW_BYTES = 14
_ASIDE_SHARE = (
    8  # damaged segments may keep an eighth of the ring's bytes; past that they are used again
)


class NoSegment(OSError):
    """Everything in the ring is in use."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "the ring has no segment to spare")


def take(store: Store, *, rescuing: bool = False) -> Segment:
    """A free segment for a new life; a rescue is given the reserve. Raises NoSegment, or OSError of the disk."""
    if rescuing:
        return _first_free(store)
    release(store, store.durable.settled)
    broken = not _grow(store)
    if len(store.pool.free) <= _RESERVE:
        release(store, max(store.durable.settled, store.sealed))
    while len(store.pool.free) <= _RESERVE and not broken:
        if store.stalled and not store.alive():
            break  # giving up records would gain nothing: the disk takes no writes at all
        if not evict(store):
            break
    return _first_free(store)


def _first_free(store: Store) -> Segment:
    if not store.pool.free:
        raise NoSegment
    return store.pool.free.pop(0)


def release(store: Store, through: int) -> None:
    """Free the segments that hold nothing past `through`, and those of batches settled for good."""
    for role in (Role.LOG, Role.KEPT):
        _free_where(store, role, through)
    newest = max((s.last for s in store.lanes[Role.HELD].segments), default=-1)
    _free_where(store, Role.HELD, min(store.durable.settled_seq, newest - 1))


def _free_where(store: Store, role: Role, through: int) -> None:
    lane = store.lanes[role]
    for segment in list(lane.segments):
        if segment.last <= through and segment is not lane.open_segment:
            lane.segments.remove(segment)
            set_free(store, segment)


def set_free(store: Store, segment: Segment) -> None:
    """Let a segment be used again, or set it aside for good if it is damaged and the budget allows that."""
    segment.rest()
    aside = [store.pool.all[n] for n in store.header.aside if n in store.pool.all]
    spent = sum(s.size for s in aside) + segment.size
    if segment.damaged and len(aside) < MAX_ASIDE and spent <= store.pool.limit // _ASIDE_SHARE:
        store.header = replace(store.header, aside=(*store.header.aside, segment.number))
        with suppress(OSError):  # written with the next header
            store.save()
    else:
        store.pool.free.append(segment)


def _grow(store: Store) -> bool:
    """Take up the budget one segment at a time, until the disk or the budget ends it.

    False if the disk failed otherwise than by being full: no reason then to give up what it still holds.
    """
    try:
        while store.pool.create() and len(store.pool.free) <= _RESERVE:
            pass
    except OSError as failed:
        store.pool.starved = trouble_of(failed) == DISK_FULL
        if not store.pool.starved and not store.pool.free:
            raise
        return store.pool.starved
    store.pool.starved = False
    return True


def shrink(store: Store) -> None:
    """Give up segments until the budget is kept: the site's file names a smaller ring now. Raises OSError."""
    release(store, store.durable.settled)
    while store.pool.used > store.pool.limit and (store.pool.free or evict(store)):
        if store.pool.free:
            store.pool.remove(store.pool.free[-1])


def evict(store: Store) -> bool:
    """Give up the oldest segment that holds ordinary records, else the oldest urgent ones; False if none can go.

    Urgent records in it are written to the KEPT lane first. Every reading lost is noted as an absence.
    """
    log, kept = store.lanes[Role.LOG], store.lanes[Role.KEPT]
    spare = [s for s in log.segments if s is not log.open_segment]
    for segment in spare:
        if segment.urgent_only:
            continue
        records = _records(store, segment)
        if _rescued(store, segment, records):
            _give_up(store, segment, Role.LOG, records)
            return True
        segment.urgent_only = True
    oldest = min(spare + kept.segments, key=lambda s: s.base, default=None)
    if oldest is None:
        return False
    role = Role.KEPT if oldest in kept.segments else Role.LOG
    _give_up(store, oldest, role, _records(store, oldest))
    return True


def _rescued(store: Store, segment: Segment, records: list[Numbered]) -> bool:
    """Save the urgent records of a segment; False if that would gain nothing or there is no room for them."""
    sealed = max(store.durable.settled, store.sealed)
    records = [r for r in records if sealed < r.last <= segment.last]
    urgent = [r for r in records if r.urgent]
    if records and len(urgent) == len(records):
        return False
    saved = {first for first, _ in store.kept(segment.base, segment.last)}  # before a restart
    try:
        for chunk in _chunks([r for r in urgent if r.first not in saved]):
            first, last = chunk[0].first, chunk[-1].last
            store.write(Role.KEPT, frame(Kind.KEPT, pack_kept(chunk), first, last, len(chunk)))
    except NoSegment:
        return False
    return True


def _chunks(records: list[Numbered]) -> Iterator[list[Numbered]]:
    chunk: list[Numbered] = []
    room = _RESCUE_BYTES
    for record in records:
        room -= len(record.payload) + _ROW_BYTES
        if chunk and room < 0:
            yield chunk
            chunk, room = [], _RESCUE_BYTES - len(record.payload) - _ROW_BYTES
        chunk.append(record)
    if chunk:
        yield chunk


def _give_up(store: Store, segment: Segment, role: Role, records: list[Numbered]) -> None:
    sealed = max(store.durable.settled, store.sealed)
    records = sorted(records)
    parts = [(segment.base, segment.last)]
    if role is Role.KEPT:
        parts = [(r.first, r.last) for r in records]
    lane = store.lanes[role]
    still = sorted(_present(store, segment))
    lost = [gap for first, last in parts for gap in uncovered(max(first, sealed + 1), last, still)]
    going = [r for r in records if any(first <= r.first <= last for first, last in lost)]
    why = REDUCED if going and store.offer and store.offer(going) else EVICTED
    lane.segments.remove(segment)
    lane.closed &= bool(lane.segments)
    count = sum(store.absent(first, last, why) for first, last in lost)
    h = store.header
    through = max(h.evicted_through, segment.last)
    gone = count if why is EVICTED else 0
    store.header = replace(h, evicted_through=through, evicted=h.evicted + gone)
    set_free(store, segment)


def _present(store: Store, leaving: Segment) -> Iterator[tuple[int, int]]:
    """Where segments other than the one that is leaving hold what it holds too."""
    for segment in store.lanes[Role.LOG].segments:
        if segment is not leaving:
            yield segment.base, segment.last
    yield from store.kept(leaving.base, leaving.last, leaving)


def _records(store: Store, segment: Segment) -> list[Numbered]:
    return [r for block in store.blocks_of(segment) for r in unpack_records(block)]
