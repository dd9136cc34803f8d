"""Segment files: created full of zeros once, then overwritten in place, life after life."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lamppost.ring.disk import File, Files
from lamppost.ring.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    Block,
    Hole,
    Role,
    SegmentHead,
    blocks,
    pack_head,
)

SMALLEST, LARGEST = 128 * 1024, 4 * 1024 * 1024
_FILL = 1024 * 1024
_PAGE = 4096
_NAME = re.compile(r"(\d{6})\.seg")


def segment_size(limit: int) -> int:
    """Bytes of a segment in a ring of `limit` bytes: about a sixty-fourth, a power of two, 128 KiB to 4 MiB."""
    size = SMALLEST
    while size * 2 <= limit // 64 and size < LARGEST:
        size *= 2
    return size


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, None for other files."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


class Segment:
    """One file. `head` says which life it is in, `base` and `last` the positions (HELD: sequence numbers) in it."""

    def __init__(self, files: Files, folder: Path, number: int, size: int) -> None:
        self._files = files
        self._file: File | None = None
        self.path = folder / f"{number:06d}.seg"
        self.number = number
        self.size = size
        self.head: SegmentHead | None = None
        self.end = size
        self.tail = size  # where the newest block begins
        self.base = -1
        self.last = -1
        self.damaged = False
        self.whole = False  # read at open, and every position between base and last was there
        self.urgent_only = False
        self.mark: tuple[int, int] | None = None  # first position of a block, and where it begins

    @property
    def room(self) -> int:
        """Bytes left behind the last block."""
        return self.size - self.end

    def begin(self, head: SegmentHead, block: bytes) -> None:
        """Start a new life with its first block; durable when this returns."""
        self.head = None
        self._write(pack_head(head) + block, 0)
        self.head, self.end = head, HEAD_BYTES + len(block)
        self.base, self.last, self.tail = head.base, -1, HEAD_BYTES
        self.damaged = self.urgent_only = False
        self.mark = None

    def put(self, block: bytes) -> None:
        """Write a block behind the last one; durable when this returns."""
        self._write(block, self.end)
        self.tail, self.end = self.end, self.end + len(block)

    def confirm(self) -> None:
        """Write the newest block again, and the head if it came with it; durable when this returns."""
        at = 0 if self.tail == HEAD_BYTES else self.tail
        self._write(self.image(at, self.end), at)

    def scan(self, at: int = HEAD_BYTES, *, patient: bool = False) -> Iterator[Block | Hole]:
        """The good blocks of this life from `at` on, and holes between them.

        With `patient`, parts that cannot be read count as damaged instead of raising OSError.
        """
        if self.head is None:
            return iter(())
        image = self.image(at, self.end, patient=patient)
        return blocks(image, at, self.head.ring, self.head.serial)

    def image(self, at: int, end: int, *, patient: bool = False) -> bytes:
        """The bytes from `at` to `end`."""
        try:
            return self._open().pread(end - at, at)
        except OSError:
            self.rest()
            if not patient:
                raise
        return b"".join(
            self._page(place, min(end, place + _PAGE)) for place in range(at, end, _PAGE)
        )

    def _page(self, at: int, end: int) -> bytes:
        try:
            return self._open().pread(end - at, at).ljust(end - at, b"\0")
        except OSError:
            self.damaged = True
            return bytes(end - at)

    def rest(self) -> None:
        """Close the file; the next use opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _write(self, content: bytes, at: int) -> None:
        file = self._open()
        file.pwrite(content, at)
        file.fdatasync()

    def _open(self) -> File:
        if self._file is None:
            self._file = self._files.open(self.path)
        return self._file


class Lane:
    """The segments of one role, oldest first. Blocks go to the newest unless the lane is closed."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.segments: list[Segment] = []
        self.closed = False
        self.previous = 0  # serial of the newest segment ever written

    @property
    def open_segment(self) -> Segment | None:
        """The segment that takes the next block."""
        return self.segments[-1] if self.segments and not self.closed else None


class Pool:
    """All segments of a ring, within its budget of bytes."""

    def __init__(self, files: Files, folder: Path, limit: int, size: int) -> None:
        self._files = files
        self._folder = folder
        self.limit = limit
        self.size = size
        self.all: dict[int, Segment] = {}
        self.free: list[Segment] = []
        self.starved = False  # the disk had no room for a segment that the budget allows

    @property
    def used(self) -> int:
        """Bytes on the disk, header included."""
        return HEADER_BYTES + sum(s.size for s in self.all.values())

    @property
    def smallest(self) -> int:
        """The size that every segment has at least."""
        return min((s.size for s in self.all.values()), default=self.size)

    def create(self) -> bool:
        """One more free segment, filled with zeros, if the budget allows. Raises OSError as the disk gives it."""
        if self.used + self.size > self.limit:
            return False
        segment = Segment(self._files, self._folder, max(self.all, default=-1) + 1, self.size)
        try:
            file = self._files.open(segment.path, create=True)
            try:
                for at in range(0, self.size, _FILL):
                    file.pwrite(bytes(min(_FILL, self.size - at)), at)
                file.fdatasync()
            finally:
                file.close()
            self._files.sync_folder(self._folder)
        except OSError:
            self._discard(segment)
            raise
        self.all[segment.number] = segment
        self.free.append(segment)
        return True

    def remove(self, segment: Segment) -> None:
        """Take a free segment off the disk: the ring was made smaller."""
        self.free.remove(segment)
        del self.all[segment.number]
        segment.rest()
        self._files.remove(segment.path)
        self._files.sync_folder(self._folder)

    def _discard(self, segment: Segment) -> None:
        with suppress(OSError):  # else it is found blank, and removed, when the ring is opened next
            self._files.remove(segment.path)
