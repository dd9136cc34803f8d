"""The ring: append, read, hold, settle. First form: one journal, replayed at open; bounded by what is read back."""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lamppost.model import Batch, Gap, Span


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended: a payload standing for `count` readings. Urgent records are evicted last."""

    count: int
    payload: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What is read back: the payload and the numbers of its readings."""

    span: Span
    payload: bytes


@dataclass(frozen=True, slots=True)
class RingStats:
    """The ring in figures. Numbers are reading numbers, sizes are bytes on disk."""

    epoch: str
    first: int
    last: int
    settled_through: int
    held: int
    bytes_used: int
    bytes_limit: int
    evicted: int
    state: str
    appended: int


class Ring:
    """Open with `Ring.open`. Calls may come from any thread; those that write wait for the disk."""

    def __init__(self, path: Path, size: int) -> None:
        self._lock = threading.RLock()
        self._size = size
        self.epoch, self.settled_through, self.last = "", -1, -1
        self._stored: list[Stored] = []
        self._bytes = 0
        self._evicted = 0
        self._gaps: list[Gap] = []
        self._held: list[Batch] = []
        self._head: Batch | None = None
        self._receipted: set[int] = set()
        self._journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._end = self._replay(os.pread(self._journal, os.fstat(self._journal).st_size, 0))
        if not self.epoch:
            self._write(["epoch", uuid.uuid4().hex])

    @classmethod
    def open(cls, folder: Path, size: int) -> Ring:
        """Create or open the ring in `folder`, at most `size` bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / "journal", size)

    def append(self, records: Sequence[Record]) -> Span:
        """Number and keep the records as one group; durable when this returns."""
        with self._lock:
            first = self.last + 1
            if records:
                self._write(["append", [[r.count, r.payload, r.urgent] for r in records]])
            return Span(first, self.last)

    def read(self, after: int, limit: int) -> list[Stored]:
        """Stored records with span.first > after, oldest first, about `limit` bytes of payload."""
        found: list[Stored] = []
        taken = 0
        with self._lock:
            for stored in self._stored:
                if stored.span.first > after:
                    if found and taken + len(stored.payload) > limit:
                        break
                    found.append(stored)
                    taken += len(stored.payload)
        return found

    def gaps(self, after: int) -> list[Gap]:
        """Recorded absences with span.last > after."""
        with self._lock:
            return [g for g in self._gaps if g.span.last > after]

    def hold(self, batch: Batch) -> None:
        """Keep a sealed batch, byte-identical, until it is settled; durable when this returns."""
        with self._lock:
            span = [batch.span.first, batch.span.last]
            kept = [
                batch.epoch,
                batch.seq,
                span,
                batch.digest,
                batch.leaf,
                batch.message,
                batch.state,
            ]
            self._write(["hold", kept])

    def held(self) -> list[Batch]:
        """Batches not yet settled, in order of seq."""
        with self._lock:
            return list(self._held)

    def head(self) -> Batch | None:
        """The newest batch sealed in this epoch, settled or not."""
        return self._head

    def settle(self, epoch: str, seq: int) -> bool:
        """A receipt for batch `seq` was verified; True if `settled_through` moved."""
        with self._lock:
            if epoch != self.epoch or all(b.seq != seq for b in self._held):
                return False
            before = self.settled_through
            self._write(["settle", seq])
            return self.settled_through > before

    def stats(self) -> RingStats:
        """The ring in figures."""
        first = self._stored[0].span.first if self._stored else self.last + 1
        return RingStats(
            epoch=self.epoch,
            first=first,
            last=self.last,
            settled_through=self.settled_through,
            held=len(self._held),
            bytes_used=self._bytes,
            bytes_limit=self._size,
            evicted=self._evicted,
            state="ok",
            appended=self.last + 1,
        )

    def close(self) -> None:
        """Give the files back."""
        with self._lock:
            os.close(self._journal)

    def _write(self, step: list[Any]) -> None:
        body = msgspec.msgpack.encode(step)
        frame = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body
        os.pwrite(self._journal, frame, self._end)
        os.fdatasync(self._journal)
        self._end += len(frame)
        self._apply(step)

    def _replay(self, journal: bytes) -> int:
        at = 0
        while at + 8 <= len(journal):
            length = int.from_bytes(journal[at : at + 4], "little")
            body = journal[at + 8 : at + 8 + length]
            if not length or zlib.crc32(body) != int.from_bytes(journal[at + 4 : at + 8], "little"):
                break
            self._apply(msgspec.msgpack.decode(body))
            at += 8 + length
        return at

    def _apply(self, step: list[Any]) -> None:
        kind, what = step
        if kind == "epoch":
            self.epoch = what
        elif kind == "append":
            for count, payload, _ in what:
                self._stored.append(Stored(Span(self.last + 1, self.last + count), payload))
                self.last += count
                self._bytes += len(payload)
        elif kind == "hold":
            epoch, seq, (first, last), digest, leaf, message, state = what
            self._head = Batch(epoch, seq, Span(first, last), digest, leaf, message, state)
            self._held.append(self._head)
        else:
            self._receipted.add(what)
            while self._held and self._held[0].seq in self._receipted:
                settled = self._held.pop(0)
                self._receipted.discard(settled.seq)
                self.settled_through = settled.span.last
