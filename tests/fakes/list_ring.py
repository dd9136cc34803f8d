"""The ring as lists in memory: what the interface means, without a disk."""

from __future__ import annotations

from collections.abc import Sequence

from lamppost.model import Batch, Gap, Span
from lamppost.ring import Record, RingStats, Stored


class ListRing:
    """Keeps everything. The contract suite holds it and the real ring to the same behaviour."""

    def __init__(self, epoch: str = "e" * 32) -> None:
        self.epoch = epoch
        self.settled_through = -1
        self.last = -1
        self._stored: list[Stored] = []
        self._held: list[Batch] = []
        self._head: Batch | None = None
        self._receipted: set[int] = set()

    def append(self, records: Sequence[Record]) -> Span:
        if any(not 1 <= r.count <= 0xFFFF for r in records):
            raise ValueError("a record stands for 1 to 65,535 readings")
        first = self.last + 1
        for record in records:
            span = Span(self.last + 1, self.last + record.count)
            self._stored.append(Stored(span, record.payload))
            self.last = span.last
        return Span(first, self.last)

    def read(self, after: int, limit: int) -> list[Stored]:
        found: list[Stored] = []
        for stored in self._stored:
            if stored.span.first > after:
                found.append(stored)
                limit -= len(stored.payload)
                if limit <= 0:
                    break
        return found

    def gaps(self, after: int) -> list[Gap]:
        return []

    def hold(self, batch: Batch) -> None:
        if batch == self._head:
            return
        seq, first = (self._head.seq + 1, self._head.span.last + 1) if self._head else (0, 0)
        expected = (batch.epoch, batch.seq, batch.span.first) == (self.epoch, seq, first)
        if not expected or not first <= batch.span.last <= self.last:
            raise ValueError("not the next batch")
        self._held.append(batch)
        self._head = batch

    def held(self) -> list[Batch]:
        return list(self._held)

    def head(self) -> Batch | None:
        return self._head

    def settle(self, epoch: str, seq: int) -> bool:
        if epoch != self.epoch or seq not in [b.seq for b in self._held]:
            return False
        self._receipted.add(seq)
        before = self.settled_through
        while self._held and self._held[0].seq in self._receipted:
            self.settled_through = self._held.pop(0).span.last
        return self.settled_through > before

    def stats(self) -> RingStats:
        first = self._stored[0].span.first if self._stored else self.last + 1
        return RingStats(
            epoch=self.epoch,
            first=first,
            last=self.last,
            settled_through=self.settled_through,
            held=len(self._held),
            bytes_used=0,
            bytes_limit=0,
            evicted=0,
            state="ok",
            appended=self.last + 1,
        )

    def close(self) -> None:
        pass
