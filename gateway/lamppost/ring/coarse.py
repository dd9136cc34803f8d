"""Before readings are dropped, resolution is: a second ring takes windows of what the first one evicts unsent.

How records become windows is the caller's (`reduce`); both rings stay blind to payloads. A window in the second ring
stands for a range of the first one's readings, and carries that range, so that what is evicted twice (a power cut in
between) is reduced once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lamppost.errors import StoreError
from lamppost.model import Span
from lamppost.ring.disk import Files
from lamppost.ring.records import Record, Stored
from lamppost.ring.ring import Ring

Reduce: TypeAlias = Callable[[Sequence[Stored]], Sequence[bytes]]
_FROM = struct.Struct("<16sqq")  # epoch, first and last reading number in the first ring


@dataclass(frozen=True, slots=True)
class Coarse:
    """One reduced window: its number in the coarse ring, what it stands for in the fine one, and its payload."""

    number: int
    epoch: str
    span: Span
    payload: bytes


class CoarseRing:
    """A ring of reduced windows. `ring` is an ordinary ring: its batches are sealed, held and settled as usual."""

    def __init__(self, ring: Ring, reduce: Reduce) -> None:
        self.ring = ring
        self._reduce = reduce
        newest = ring.read(ring.last - 1, 1)
        self._covered = _unpack(newest[0]) if newest else None

    @classmethod
    def open(
        cls,
        folder: Path,
        size: int,
        reduce: Reduce,
        *,
        files: Files | None = None,
        segment: int | None = None,
    ) -> CoarseRing:
        """Open or create it in a folder of its own, as `Ring.open`, with the same errors."""
        return cls(Ring.open(folder, size, files=files, segment=segment), reduce)

    def covered_through(self, epoch: str) -> int:
        """The newest reading number of the fine ring's epoch that was reduced, -1 if none."""
        return self._covered.span.last if self._covered and self._covered.epoch == epoch else -1

    def take(self, epoch: str, evicted: Sequence[Stored]) -> bool:
        """Reduce what the fine ring is about to give up. True if the windows are durable now."""
        done = self.covered_through(epoch)
        fresh = [stored for stored in evicted if stored.span.first > done]
        if not fresh:
            return True
        span = Span(fresh[0].span.first, fresh[-1].span.last)
        mark = _FROM.pack(bytes.fromhex(epoch), span.first, span.last)
        records = [Record(1, mark + payload) for payload in self._reduce(fresh)]
        try:
            self.ring.append(records)
        except StoreError:
            return False  # a window that fits no segment: the gap says evicted then
        if not records or not self.ring.stats().durable:
            return False
        self._covered = Coarse(self.ring.last, epoch, span, b"")
        return True

    def read(self, after: int, limit: int) -> list[Coarse]:
        """Windows numbered past `after`, oldest first, about `limit` bytes, at least one."""
        return [_unpack(stored) for stored in self.ring.read(after, limit)]

    def close(self) -> None:
        """Give the files back."""
        self.ring.close()


def _unpack(stored: Stored) -> Coarse:
    epoch, first, last = _FROM.unpack_from(stored.payload)
    return Coarse(stored.span.first, epoch.hex(), Span(first, last), stored.payload[_FROM.size :])
