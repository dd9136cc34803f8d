"""Bytes ↔ ring header, segment heads and blocks. Pure; the layout is written down in docs/formats/ring.md.

Every checksum is CRC32C (Castagnoli). A block's checksum begins with the ring's id and the serial number of its
segment's present life, so that a block of an earlier life, or of another ring, or one written inside a payload to
look like a block, is never taken for one.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import msgspec
import zstandard
from google_crc32c import extend

from lamppost.model import Batch, Span
from lamppost.ring.records import Numbered, Record

VERSION = 1
SLOT = 4096  # distance of the two header slots: never in one page
SECTOR = 512  # what a disk writes whole; a header slot and a segment head fit into one
HEADER_FILE = "ring.head"
HEADER_BYTES = 2 * SLOT
HEAD_BYTES = 128  # of a segment, before its first block
BLOCK_HEAD = 40
MAX_ASIDE = 64

_RING = b"LAMPRING"
_SEGMENT = b"LAMPSEGM"
_BLOCK = b"\xb1OCK"
_SUM = struct.Struct("<I")
_HEADER = struct.Struct("<HH16s16sQQqqqqqqQQH")
_HEAD = struct.Struct("<HBx16s16sQQqqqqqQQ")
_FRAME = struct.Struct("<IIBBHQqI")  # after magic and checksum
_ROW = struct.Struct("<IH")
_KEPT_ROW = struct.Struct("<qIH")
_URGENT = 1 << 31
_ZSTD = 1  # block flag
_CLEAN = 1  # header flag
_WORTH = 256  # bytes from which compression is tried


class _Contexts(threading.local):
    """One of each for every thread: a zstd context may serve one at a time, and a gateway has several rings."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(
            level=1, write_content_size=False, write_checksum=False
        ).compress
        self.expand = zstandard.ZstdDecompressor().decompress


_zstd = _Contexts()


class Role(IntEnum):
    """What a segment holds in its present life."""

    LOG = 1
    KEPT = 2
    HELD = 3


class Kind(IntEnum):
    """What a block holds."""

    RECORDS = 1
    GAP = 2
    KEPT = 3
    BATCH = 4


class Foreign(ValueError):
    """The bytes are a ring header's, but not of this format: another file, or a newer version (then `newer`)."""

    def __init__(self, newer: int = 0) -> None:
        super().__init__(f"format version {newer}" if newer else "not a ring header")
        self.newer = newer


@dataclass(frozen=True, slots=True)
class Header:
    """One slot of the ring header. Numbers are positions: reading numbers counted over all epochs.

    A position minus `origin` is the reading number of the present epoch.
    """

    ring: bytes
    epoch: bytes
    turn: int
    opens: int
    origin: int
    settled: int
    settled_seq: int
    sealed_seq: int
    next: int
    evicted_through: int
    evicted: int
    limit: int
    aside: tuple[int, ...] = ()
    clean: bool = False  # closed in order, with every sync a success


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """The first bytes of a segment: which life this is, and a copy of the cursors in case the header is lost."""

    ring: bytes
    epoch: bytes
    role: Role
    serial: int
    previous: int
    base: int
    origin: int
    settled: int
    settled_seq: int
    evicted_through: int
    evicted: int
    limit: int


class Frame(NamedTuple):
    """What a block will hold. `size` is the body's before compression."""

    kind: Kind
    body: bytes
    size: int
    flags: int
    first: int
    last: int
    records: int

    @property
    def room(self) -> int:
        """The most bytes that the block takes in a segment."""
        return BLOCK_HEAD + len(self.body) + 7


@dataclass(frozen=True, slots=True)
class Block:
    """A block that passed its checksum. `offset` to `end` is its place in the file."""

    kind: Kind
    flags: int
    records: int
    first: int
    readings: int
    serial: int
    size: int
    body: bytes
    offset: int
    end: int

    @property
    def last(self) -> int:
        """The position of the last reading that the block speaks of."""
        return self.first + self.readings - 1


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes between two good blocks that hold no good block."""

    offset: int
    end: int


def _summed(magic: bytes, content: bytes, start: int = 0) -> bytes:
    return magic + _SUM.pack(extend(start, content)) + content


def pack_header(header: Header) -> bytes:
    """One slot, 512 bytes."""
    h = header
    numbers = (
        h.turn,
        h.opens,
        h.origin,
        h.settled,
        h.settled_seq,
        h.sealed_seq,
        h.next,
        h.evicted_through,
    )
    fixed = _HEADER.pack(
        VERSION, h.clean, h.ring, h.epoch, *numbers, h.evicted, h.limit, len(h.aside)
    )
    content = fixed + struct.pack(f"<{len(h.aside)}I", *h.aside)
    return _summed(_RING, content.ljust(SECTOR - len(_RING) - _SUM.size, b"\0"))


def read_header(file: bytes) -> Header | None:
    """The newest good slot of a header file, None if both are damaged. Raises Foreign."""
    slots = [file[at : at + SECTOR] for at in (0, SLOT)]
    found = [h for h in map(_read_slot, slots) if h]
    if not found and any(file) and not any(slot.startswith(_RING) for slot in slots):
        raise Foreign
    return max(found, key=lambda h: h.turn, default=None)


def _read_slot(slot: bytes) -> Header | None:
    start = len(_RING) + _SUM.size
    if len(slot) != SECTOR or not slot.startswith(_RING):
        return None
    if _SUM.unpack_from(slot, len(_RING))[0] != extend(0, slot[start:]):
        return None
    version, flags, *fields, count = _HEADER.unpack_from(slot, start)
    if version != VERSION:
        raise Foreign(version)
    aside = struct.unpack_from(f"<{count}I", slot, start + _HEADER.size)
    return Header(*[*fields, aside, bool(flags & _CLEAN)])


def pack_head(head: SegmentHead) -> bytes:
    """The first 128 bytes of a segment."""
    h = head
    numbers = (h.serial, h.previous, h.base, h.origin, h.settled, h.settled_seq, h.evicted_through)
    content = _HEAD.pack(VERSION, h.role, h.ring, h.epoch, *numbers, h.evicted, h.limit)
    return _summed(_SEGMENT, content.ljust(HEAD_BYTES - len(_SEGMENT) - _SUM.size, b"\0"))


def read_head(start: bytes) -> SegmentHead | None:
    """A segment's head, None where it is blank or damaged. Raises Foreign for a newer version."""
    content = start[len(_SEGMENT) + _SUM.size : HEAD_BYTES]
    if len(start) < HEAD_BYTES or not start.startswith(_SEGMENT):
        return None
    if _SUM.unpack_from(start, len(_SEGMENT))[0] != extend(0, content):
        return None
    version, role, ring, epoch, *numbers = _HEAD.unpack_from(content)
    if version != VERSION:
        raise Foreign(version)
    return SegmentHead(ring, epoch, Role(role), *numbers)


def seed(ring: bytes, serial: int) -> int:
    """Where the checksums of one life of one segment begin."""
    return int(extend(0, ring + serial.to_bytes(8, "little")))


def frame(kind: Kind, body: bytes, first: int, last: int, records: int) -> Frame:
    """A block before it has a place; compressed where that saves an eighth."""
    if len(body) >= _WORTH and kind is not Kind.BATCH:
        small = _zstd.compress(body)
        if len(small) <= len(body) - len(body) // 8:
            return Frame(kind, small, len(body), _ZSTD, first, last, records)
    return Frame(kind, body, len(body), 0, first, last, records)


def pack_block(f: Frame, ring: bytes, serial: int) -> bytes:
    """The bytes of a block in the life `serial` of a segment, padded to 8."""
    numbers = (f.kind, f.flags, f.records, serial, f.first, f.last - f.first + 1)
    rest = _FRAME.pack(len(f.body), f.size, *numbers) + f.body
    framed = _summed(_BLOCK, rest, seed(ring, serial))
    return framed + bytes(-len(framed) % 8)


def blocks(image: bytes, at: int, ring: bytes, serial: int | None) -> Iterator[Block | Hole]:
    """The good blocks of a segment's bytes, `image` beginning at file offset `at` (a multiple of 8).

    Goes on behind damage at the next good block. Bytes after the last good block are not reported: that is the
    end, torn or not. With `serial` None blocks of any life count (for a segment whose head is lost).
    """
    offset = 0
    while True:
        block = _read_block(image, offset, at, ring, serial)
        if block is None:
            found = _next_block(image, offset + 8, at, ring, serial)
            if found is None:
                return
            yield Hole(at + offset, found.offset)
            block = found
        yield block
        offset = block.end - at


def _next_block(
    image: bytes, offset: int, at: int, ring: bytes, serial: int | None
) -> Block | None:
    while (offset := image.find(_BLOCK, offset)) >= 0:
        if offset % 8 == 0 and (block := _read_block(image, offset, at, ring, serial)):
            return block
        offset += 1
    return None


def _read_block(
    image: bytes, offset: int, at: int, ring: bytes, serial: int | None
) -> Block | None:
    start = offset + len(_BLOCK) + _SUM.size
    if image[offset : offset + len(_BLOCK)] != _BLOCK or start + _FRAME.size > len(image):
        return None
    length, size, kind, flags, records, life, first, readings = _FRAME.unpack_from(image, start)
    end = start + _FRAME.size + length
    if end > len(image) or (serial is not None and life != serial):
        return None
    expected = _SUM.unpack_from(image, offset + len(_BLOCK))[0]
    body = image[start + _FRAME.size : end]
    if extend(extend(seed(ring, life), image[start : start + _FRAME.size]), body) != expected:
        return None
    end += -end % 8
    return Block(
        Kind(kind), flags, records, first, readings, life, size, body, at + offset, at + end
    )


def pack_records(records: Sequence[Record]) -> bytes:
    """Body of a RECORDS block: consecutive records, their sizes first."""
    rows: list[int] = []
    for r in records:
        rows += (len(r.payload) | _URGENT if r.urgent else len(r.payload), r.count)
    return struct.pack("<" + "IH" * len(records), *rows) + b"".join([r.payload for r in records])


def pack_kept(records: Sequence[Numbered]) -> bytes:
    """Body of a KEPT block: urgent records saved from eviction, with their positions."""
    rows = [_KEPT_ROW.pack(r.first, len(r.payload) | _URGENT, r.readings) for r in records]
    return b"".join(rows + [r.payload for r in records])


def unpack_records(block: Block) -> list[Numbered]:
    """The records of a RECORDS or KEPT block."""
    body = _body(block)
    kept = block.kind is Kind.KEPT
    row = _KEPT_ROW if kept else _ROW
    found, first, at = [], block.first, block.records * row.size
    for place in range(0, at, row.size):
        if kept:
            first, length, count = _KEPT_ROW.unpack_from(body, place)
        else:
            length, count = _ROW.unpack_from(body, place)
        size = length & ~_URGENT
        found.append(Numbered(first, count, body[at : at + size], bool(length & _URGENT)))
        first, at = first + count, at + size
    return found


def unpack_why(block: Block) -> str:
    """Why the readings of a GAP block are absent."""
    return _body(block).decode()


def pack_batch(batch: Batch) -> bytes:
    """Body of a BATCH block."""
    span = (batch.span.first, batch.span.last)
    parts = (batch.epoch, batch.seq, *span, batch.digest, batch.leaf, batch.message, batch.state)
    return msgspec.msgpack.encode(parts)


def unpack_batch(block: Block) -> Batch:
    """The sealed batch of a BATCH block, byte for byte."""
    epoch, seq, first, last, digest, leaf, message, state = msgspec.msgpack.decode(block.body)
    return Batch(epoch, seq, Span(first, last), digest, leaf, message, state)


def _body(block: Block) -> bytes:
    return (
        _zstd.expand(block.body, max_output_size=block.size) if block.flags & _ZSTD else block.body
    )
