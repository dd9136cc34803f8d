"""The ring as its users see it: append, read, hold, settle.

Numbers here are reading numbers of the present epoch; the store below counts positions over all epochs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from lamppost.errors import StoreError
from lamppost.model import Batch, Gap, Span
from lamppost.ring import recover, retention
from lamppost.ring.absences import Absence
from lamppost.ring.disk import DISK_FULL, IO_ERROR, Files, OsFiles, store_error, trouble_of
from lamppost.ring.format import (
    BLOCK_HEAD,
    HEAD_BYTES,
    Kind,
    Role,
    frame,
    pack_batch,
    pack_records,
)
from lamppost.ring.held import check_next, check_room, held_full
from lamppost.ring.memory import MAX_RECORDS, MEMORY_BYTES, Memory
from lamppost.ring.records import MAX_COUNT, Numbered, Record, RingStats, Stored, Verification
from lamppost.ring.segments import SMALLEST, segment_size
from lamppost.ring.store import Store
from lamppost.ring.verify import verify

__all__ = ["Record", "Ring", "RingStats", "Stored", "Verification"]


class Ring:
    """Open with `Ring.open`. Methods may be called from any thread, one at a time gets through.

    Methods that write wait for the disk; `epoch`, `last`, `settled_through`, `head` and `held` never do.
    """

    def __init__(
        self, folder: Path, size: int, files: Files, segment: int | None, memory: int
    ) -> None:
        self._folder = folder
        self._size = size
        self._files = files
        self._segment = segment
        self._lock = threading.RLock()
        self._memory = Memory(memory)
        self._store: Store | None = None
        self._unlock: Callable[[], None] | None = None
        self._trouble: str | None = None
        self._last = -1
        self._held: list[Batch] = []
        self._head: Batch | None = None
        self._receipted: set[int] = set()
        self._take: Callable[[Sequence[Numbered]], bool] | None = None
        self._reduced = -1

    @classmethod
    def open(
        cls,
        folder: Path,
        size: int,
        *,
        files: Files | None = None,
        segment: int | None = None,
        memory: int = MEMORY_BYTES,
    ) -> Ring:
        """Open the ring in `folder`, or create it, with at most `size` bytes on disk (0: the size that it has).

        Damage is salvaged and shows in `stats().state`, and so does a disk that is full, read-only or failing: then
        up to `memory` bytes of records wait in memory and the ring tries again at each append.

        Raises StoreError `ring.wrong-owner`, `ring.foreign`, `ring.newer-format`, `ring.absent` (size 0 and no
        ring there) and `store.in-use`.
        """
        ring = cls(folder, size, files or OsFiles(), segment, memory)
        try:
            ring._attach()
        except OSError as failed:
            ring._stumble(failed)
        except StoreError:
            ring.close()
            raise
        return ring

    @property
    def epoch(self) -> str:
        """The present life of the counters, 32 hexadecimal digits; empty while the disk could not be opened."""
        return self._store.header.epoch.hex() if self._store else ""

    @property
    def settled_through(self) -> int:
        """The newest reading number covered by a verified receipt, -1 if none."""
        return self._store.header.settled - self._origin if self._store else -1

    @property
    def last(self) -> int:
        """The newest reading number, -1 if there is none."""
        return self._last - self._origin

    def append(self, records: Sequence[Record]) -> Span:
        """Number the records and keep them as one group; durable when this returns, by one fdatasync.

        While the disk fails they wait in memory and `stats().state` names the reason; what does not fit there
        becomes a gap. Raises ValueError for a count outside 1 to 65,535 and StoreError `ring.record-too-big`.
        """
        with self._lock:
            readings = self._checked(records)
            first, self._last = self._last + 1, self._last + readings
            try:
                self._put(first, records)
                self._trouble = None
            except OSError as failed:
                self._stumble(failed)
            return Span(self.last - readings + 1, self.last)

    def read(self, after: int, limit: int) -> list[Stored]:
        """Stored records with span.first > after, oldest first, about `limit` bytes of payload, at least one.

        Settled records are given too while they are there. Damage met on the way becomes a gap: ask `gaps`
        after reading. Empty where the disk cannot be read at present.
        """
        found: list[Stored] = []
        with self._lock:
            origin, left = self._origin, limit
            try:
                for record in self._records(max(after, -1) + origin):
                    found.append(self._stored(record))
                    left -= len(record.payload)
                    if left <= 0:
                        break
            except OSError as failed:
                self._trouble = trouble_of(failed)
        return found

    def _records(self, after: int) -> Iterator[Numbered]:
        if self._store:
            yield from self._store.records(after)
        yield from (r for r in self._memory.records() if r.first > after)

    def gaps(self, after: int) -> list[Gap]:
        """Absences with span.last > after, in order: what was evicted, damaged, or lost while the disk failed.

        After a restart only those past the newest sealed batch are known; the others are in batches already.
        """
        with self._lock:
            known = [*(self._store.absences if self._store else ()), *self._memory.absences()]
            origin = self._origin
            return [
                Gap(Span(max(a.first - origin, 0), a.last - origin), a.why)
                for a in known
                if a.last - origin > max(after, -1)
            ]

    def hold(self, batch: Batch) -> None:
        """Keep a sealed batch, byte for byte, until it is settled; durable when this returns.

        Raises ValueError if it does not follow the newest batch, StoreError `ring.batch-too-big`, `ring.held-full`
        or the state of the disk (`retry` True). Holding the same batch again does nothing.
        """
        with self._lock:
            store = self._store
            if store is None:
                raise store_error(self._trouble or IO_ERROR, f"{self._folder} cannot be opened")
            if batch == self._head:
                return
            check_next(batch, self._head, self.epoch, self.last)
            what = frame(Kind.BATCH, pack_batch(batch), batch.seq, batch.seq, 1)
            check_room(store, what.room)
            try:
                store.write(Role.HELD, what)
            except OSError as failed:
                self._refuse(failed)
            self._held = [*self._held, batch]
            self._head = batch
            store.sealed = self._origin + batch.span.last
            store.header = replace(store.header, sealed_seq=batch.seq, next=self._following)

    def held(self) -> list[Batch]:
        """Sealed batches that are not settled, in order of seq."""
        return list(self._held)

    def head(self) -> Batch | None:
        """The newest batch sealed in this epoch, settled or not."""
        return self._head

    def settle(self, epoch: str, seq: int) -> bool:
        """A receipt for batch `seq` was verified. True if the cursor moved, which it does over whole prefixes only.

        Should the cursor not get onto a failing disk, the batch is sent again after a restart; never the other way.
        """
        with self._lock:
            store = self._store
            if store is None or epoch != self.epoch or all(b.seq != seq for b in self._held):
                return False
            self._receipted.add(seq)
            held, done = list(self._held), None
            while held and held[0].seq in self._receipted:
                done = held.pop(0)
                self._receipted.discard(done.seq)
            if done is None:
                return False
            self._held = held
            through = self._origin + done.span.last
            store.header = replace(
                store.header, settled=through, settled_seq=done.seq, next=self._following
            )
            store.absences.forget(through)
            try:
                store.save()
            except OSError as failed:
                self._trouble = trouble_of(failed)
            return True

    def begin_epoch(self) -> None:
        """Give up the batches in flight: what is not settled is numbered anew, from 0, in a new epoch.

        For another destination, which can do nothing with them. Readings that only a batch still held become gaps.
        Durable when this returns. Raises StoreError with the state of the disk (`retry` True); nothing changed then.
        """
        with self._lock:
            store = self._store
            if store is None or self._memory:
                raise store_error(self._trouble or IO_ERROR, f"{self._folder} cannot be written")
            h = store.header
            fresh = replace(h, epoch=store.fresh_id(), origin=h.settled + 1, next=self._following)
            store.header = replace(fresh, settled_seq=-1, sealed_seq=-1)
            try:
                store.save()
                store.close()
                self._store, self._last = None, -1
                self._receipted.clear()
                self._attach()  # what the files hold is looked at as after a restart
            except OSError as failed:
                if self._store is not None:
                    self._store.header = h
                self._refuse(failed)

    @property
    def identity(self) -> str:
        """The ring's id, 32 hexadecimal digits, the same in all epochs; empty while the disk could not be opened."""
        return self._store.header.ring.hex() if self._store else ""

    @property
    def origin(self) -> int:
        """The position of this epoch's reading 0. Positions count over all epochs."""
        return self._origin

    @property
    def sealed_through(self) -> int:
        """The newest position that is settled or in a held batch, -1 if none."""
        return max(self._store.header.settled, self._store.sealed) if self._store else -1

    def positions(self, after: int) -> Iterator[Numbered]:
        """Durable records past position `after`, in order. Raises OSError where the disk cannot be read.

        Do not let other methods run between two of them.
        """
        if self._store:
            yield from self._store.records(after)

    def reduce_with(self, take: Callable[[Sequence[Numbered]], bool], through: int = -1) -> None:
        """Offer what must be evicted to `take` first; if that gives True the gap says `reduced`.

        `take` may ask `positions` and `sealed_through`, nothing else. `through` is the newest position reduced before
        a restart. See `coarse.CoarseRing`.
        """
        with self._lock:
            self._take = take
            self._reduced = through
            self._offer()

    def _offer(self) -> None:
        """Tell the store of an attached disk where evicted records are offered."""
        if self._store is not None and self._take is not None:
            self._store.absences.rename(retention.EVICTED, retention.REDUCED, self._reduced)
            self._store.offer = self._take

    def resize(self, size: int) -> None:
        """Keep to another size from now on; what no longer fits is given up at once, oldest first, offered before."""
        with self._lock:
            store = self._store
            self._size = size
            if store is None or store.pool.limit == size:
                return
            store.header = replace(store.header, limit=size)
            store.pool.limit, store.pool.size = size, self._segment or segment_size(size)
            try:
                retention.shrink(store)
                store.save()
            except OSError as failed:
                self._stumble(failed)

    def _stored(self, record: Numbered) -> Stored:
        first, last = record.first - self._origin, record.last - self._origin
        return Stored(Span(first, last), record.payload, record.urgent)

    def stats(self) -> RingStats:
        """The ring in figures."""
        with self._lock:
            store = self._store
            return RingStats(
                epoch=self.epoch,
                first=self._first(),
                last=self.last,
                settled_through=self.settled_through,
                held=len(self._held),
                bytes_used=store.pool.used if store else 0,
                bytes_limit=store.pool.limit if store else self._size,
                evicted=store.header.evicted if store else 0,
                state=self._state(),
                appended=self._last + 1,
                durable=not self._memory,
            )

    def verify(self) -> Verification:
        """Read every block in use and check it. Takes as long as the disk needs; changes nothing."""
        with self._lock:
            return verify(self._store) if self._store else Verification(0, 0, 0, 0, ())

    def close(self) -> None:
        """Write what waits, if the disk lets us, and give the files back."""
        with self._lock:
            if self._store:
                with suppress(OSError):
                    self._flush()
                    self._store.sign_off(
                        self._last + 1, clean=not self._memory and not self._trouble
                    )
                self._store.close()
            if self._unlock:
                self._unlock()
                self._unlock = None

    # -- within ------------------------------------------------------------------------------------

    @property
    def _origin(self) -> int:
        return self._store.header.origin if self._store else 0

    def _attach(self) -> None:
        """Open the disk's part. Raises OSError while the disk fails, StoreError if the files are not ours."""
        try:
            self._files.make_folder(self._folder)
            if self._unlock is None:
                self._unlock = self._files.lock(self._folder)
            found = recover.recover(self._files, self._folder, self._size, self._segment)
        except PermissionError as refused:
            raise StoreError(
                f"{self._folder} belongs to someone else: {refused}",
                code="ring.wrong-owner",
                hint=f"give the folder to the user that runs lamppost: chown -R lamppost {self._folder}",
            ) from None
        self._store = found.store
        self._held, self._head = found.held, found.head
        self._memory.renumber(found.last + 1)
        self._last += found.last + 1
        self._offer()
        self._confirm()

    def _confirm(self) -> None:
        """Do once more what an earlier process may have left undone; a failing disk is a state, not an end."""
        if self._store is None or self._store.durable.clean:
            return
        try:
            self._store.save()
            recover.confirm(self._store)
        except OSError as failed:
            self._trouble = trouble_of(failed)

    def _put(self, first: int, records: Sequence[Record]) -> None:
        """Write the records, behind what waits in memory; where they cannot be written they wait there too."""
        fits = (
            sum([len(r.payload) + 6 for r in records]) <= self._room and len(records) <= MAX_RECORDS
        )
        if fits and records and not self._memory and self._store:
            what = frame(Kind.RECORDS, pack_records(records), first, self._last, len(records))
            try:
                self._store.write(Role.LOG, what)
            except OSError:
                self._memory.add(first, records)
                raise
            self._catch_up(self._store)
        else:
            self._memory.add(first, records)
            self._flush()

    def _flush(self) -> None:
        """Write all that waits in memory, oldest first."""
        if self._store is None:
            self._attach()
        store = self._store
        assert store is not None
        while self._memory:
            chunk = self._memory.next(self._room)
            if isinstance(chunk, Absence):
                first, last, body = chunk.first, chunk.last, chunk.why.encode()
                store.write(Role.LOG, frame(Kind.GAP, body, first, last, 0))
                lost = store.absent(first, last, chunk.why)
                store.header = replace(store.header, evicted=store.header.evicted + lost)
            else:
                first, last, body = (
                    chunk[0].first,
                    chunk[-1].last,
                    pack_records([n.record for n in chunk]),
                )
                store.write(Role.LOG, frame(Kind.RECORDS, body, first, last, len(chunk)))
            self._memory.written(chunk)
        self._catch_up(store)

    def _catch_up(self, store: Store) -> None:
        """A cursor that could not be written is written now."""
        if store.header.settled > store.durable.settled:
            store.save()

    def _stumble(self, failed: OSError) -> None:
        self._trouble = trouble_of(failed)
        self._memory.trim(self._trouble)

    def _refuse(self, failed: OSError) -> NoReturn:
        if isinstance(failed, retention.NoSegment):
            raise held_full() from None
        self._trouble = trouble_of(failed)
        raise store_error(self._trouble, f"a sealed batch cannot be kept: {failed}") from failed

    @property
    def _following(self) -> int:
        """The position after the newest durable reading."""
        waiting = self._memory.first
        return self._last + 1 if waiting is None else waiting

    @property
    def _room(self) -> int:
        """Bytes that the body of a block may have."""
        smallest = self._store.pool.smallest if self._store else SMALLEST
        return smallest - HEAD_BYTES - BLOCK_HEAD - 8

    def _checked(self, records: Sequence[Record]) -> int:
        """How many readings the records stand for. Raises before anything is written."""
        room, readings = self._room - 6, 0
        for record in records:
            if not 1 <= record.count <= MAX_COUNT:
                raise ValueError(
                    f"a record stands for 1 to {MAX_COUNT} readings, not {record.count}"
                )
            if len(record.payload) > room:
                raise StoreError(
                    f"a record of {len(record.payload)} bytes does not fit a segment",
                    code="ring.record-too-big",
                    hint="give the ring a larger size in the site file",
                )
            readings += record.count
        return readings

    def _first(self) -> int:
        lanes = self._store.lanes if self._store else {}
        bases = [
            s.base for role, lane in lanes.items() if role is not Role.HELD for s in lane.segments
        ]
        return max(min(bases) - self._origin, 0) if bases else self.last + 1

    def _state(self) -> str:
        if self._trouble:
            return self._trouble
        if self._store and self._store.pool.starved:
            return DISK_FULL
        return "salvaged" if self._store and self._store.damage else "ok"
