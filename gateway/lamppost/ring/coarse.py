"""Before readings are dropped, resolution is: a second ring takes windows of what the first one evicts unsent.

How records become windows is the caller's; both rings stay blind to payloads. A group of windows stands for a range of
the first ring's positions and carries that range, so that what is evicted twice (a power cut in between) is reduced
once, and what a batch says of it is exact.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamppost.errors import StoreError
from lamppost.model import Span
from lamppost.ring.disk import Files
from lamppost.ring.records import Record, RingStats, Stored, Verification
from lamppost.ring.ring import Ring

READ_BYTES = 64 * 1024
_MARK = struct.Struct("<16sqqHHqq")
_RANGE = struct.Struct("<qq")


@dataclass(frozen=True, slots=True)
class Group:
    """Windows that were made together. Numbers are positions of the ring `source` (hexadecimal), over all its epochs.

    `span` is what was looked at, `covered` the parts of it that the windows stand for; `total` is how many readings
    were ever reduced, this group included.
    """

    source: str
    span: Span
    covered: tuple[Span, ...]
    payloads: tuple[bytes, ...]
    total: int = 0

    @property
    def readings(self) -> int:
        """How many readings the windows stand for."""
        return sum(span.count for span in self.covered)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What every record of a group begins with: which group, and which of how many records this is."""

    source: bytes
    first: int
    last: int
    part: int
    parts: int
    readings: int
    total: int

    @classmethod
    def of(cls, payload: bytes) -> _Mark:
        return cls(*_MARK.unpack_from(payload))


class CoarseRing:
    """A ring of reduced windows in a folder of its own. The oldest go first; nothing in it is ever settled."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._newest = self._newest_whole()
        self._from = -1  # records up to here end before what was asked for last

    @classmethod
    def open(
        cls, folder: Path, size: int, *, files: Files | None = None, segment: int | None = None
    ) -> CoarseRing:
        """Open or create it in a folder of its own, as `Ring.open`, with the same errors."""
        return cls(Ring.open(folder, size, files=files, segment=segment, memory=0))

    @property
    def total(self) -> int:
        """How many readings were ever reduced here."""
        return self._newest.total if self._newest else 0

    def covered_through(self, source: str) -> int:
        """The newest position of the ring `source` that a group reaches, -1 if none."""
        newest = self._newest
        return newest.last if newest and newest.source.hex() == source else -1

    def put(self, group: Group) -> bool:
        """Keep a group; True if it is durable when this returns, whole. `group.total` is not looked at."""
        mark = _Mark(
            bytes.fromhex(group.source),
            group.span.first,
            group.span.last,
            0,
            len(group.payloads) + 1,
            group.readings,
            self.total + group.readings,
        )
        covered = b"".join(_RANGE.pack(s.first, s.last) for s in group.covered)
        records = [
            Record(1, _packed(mark, part) + payload)
            for part, payload in enumerate((covered, *group.payloads))
        ]
        try:
            self._ring.append(records)
        except StoreError:
            return False  # a window that fits no segment: its readings are named as evicted then
        if not self._ring.stats().durable:
            return False
        self._newest = mark
        return True

    def after(self, source: str, position: int) -> Iterator[Group]:
        """Whole groups of `source` that reach past `position`, in order. Ask for growing positions."""
        gathered: list[bytes] = []
        found = False
        for stored in self._records(self._from):
            mark = _Mark.of(stored.payload)
            if mark.part != len(gathered):
                gathered = []  # what came before is no whole group: the power failed, or its start was given up
            if mark.part == len(gathered):
                gathered.append(stored.payload)
            if len(gathered) != mark.parts:
                continue
            group, gathered = _group(mark, gathered), []
            if group.source == source and group.span.last > position:
                found = True
                yield group
            elif not found:
                self._from = stored.span.last

    def stats(self) -> RingStats:
        """The ring below, in figures; its numbers count records."""
        return self._ring.stats()

    def verify(self) -> Verification:
        """As `Ring.verify`."""
        return self._ring.verify()

    def resize(self, size: int) -> None:
        """As `Ring.resize`."""
        self._ring.resize(size)

    def close(self) -> None:
        """Give the files back."""
        self._ring.close()

    def _newest_whole(self) -> _Mark | None:
        """The mark of the newest group of which every record arrived."""
        number = self._ring.last
        while number >= 0:
            found = self._ring.read(number - 1, 1)
            if not found:
                return None
            mark = _Mark.of(found[0].payload)
            if mark.part == mark.parts - 1:
                return mark
            number -= mark.part + 1
        return None

    def _records(self, after: int) -> Iterator[Stored]:
        while found := self._ring.read(after, READ_BYTES):
            yield from found
            after = found[-1].span.last


def _packed(mark: _Mark, part: int) -> bytes:
    return _MARK.pack(
        mark.source, mark.first, mark.last, part, mark.parts, mark.readings, mark.total
    )


def _group(mark: _Mark, records: Sequence[bytes]) -> Group:
    covered, *payloads = [record[_MARK.size :] for record in records]
    return Group(
        mark.source.hex(),
        Span(mark.first, mark.last),
        tuple(Span(*pair) for pair in _RANGE.iter_unpack(covered)),
        tuple(payloads),
        mark.total,
    )
