"""Records that are numbered and not yet on the disk: a group on its way, or what waits while the disk fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from lamppost.ring.absences import Absence
from lamppost.ring.records import Numbered, Record

MEMORY_BYTES = 1024 * 1024  # payload kept while the disk takes nothing
MAX_RECORDS = 0xFFFF  # in one block
_OVERHEAD = 64  # what a waiting record costs beside its payload


class Memory:
    """A bounded queue of records. The oldest ordinary ones give way first, urgent ones last."""

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._items: deque[Numbered | Absence] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def first(self) -> int | None:
        """The oldest position that is not on the disk, None if all are."""
        return self._items[0].first if self._items else None

    def records(self) -> Iterator[Numbered]:
        """What waits, oldest first."""
        return (item for item in self._items if isinstance(item, Numbered))

    def absences(self) -> Iterator[Absence]:
        """What was given up here and is not on the disk as such yet."""
        return (item for item in self._items if isinstance(item, Absence))

    def add(self, first: int, records: Sequence[Record]) -> None:
        """Let records wait that begin at position `first`, newer than all that wait already."""
        for r in records:
            self._items.append(Numbered(first, r.count, r.payload, r.urgent))
            self._bytes += len(r.payload) + _OVERHEAD
            first += r.count

    def trim(self, why: str) -> list[Absence]:
        """Give up what is over the limit; returns what was lost."""
        lost: list[Absence] = []
        for urgent in (False, True):
            if self._bytes > self._limit:
                lost += self._drop(urgent, why)
        return lost

    def _drop(self, urgent: bool, why: str) -> list[Absence]:
        lost: list[Absence] = []
        kept: deque[Numbered | Absence] = deque()
        for item in self._items:
            if isinstance(item, Numbered) and item.urgent == urgent and self._bytes > self._limit:
                self._bytes -= _cost(item)
                item = Absence(item.first, item.last, why)
                lost.append(item)
            before = kept[-1] if kept else None
            if isinstance(item, Absence) and isinstance(before, Absence) and before.why == item.why:
                kept[-1] = before._replace(last=item.last)
            else:
                kept.append(item)
        self._items = kept
        return lost

    def next(self, room: int) -> Absence | list[Numbered]:
        """What goes into the next block: one absence, or records that follow one another and fit into `room`."""
        chunk: list[Numbered] = []
        for item in self._items:
            if isinstance(item, Absence):
                return chunk or item
            room -= len(item.payload) + 6
            if room < 0 or len(chunk) == MAX_RECORDS:
                break
            chunk.append(item)
        return chunk

    def written(self, chunk: Absence | list[Numbered]) -> None:
        """What `next` gave is durable now."""
        for _ in range(1 if isinstance(chunk, Absence) else len(chunk)):
            item = self._items.popleft()
            if isinstance(item, Numbered):
                self._bytes -= _cost(item)

    def renumber(self, by: int) -> None:
        """Shift all positions: the disk came late and knew older ones."""
        self._items = deque(item._replace(first=item.first + by) if isinstance(item, Numbered)
            else Absence(item.first + by, item.last + by, item.why) for item in self._items)  # fmt: skip


def _cost(record: Numbered) -> int:
    return len(record.payload) + _OVERHEAD
