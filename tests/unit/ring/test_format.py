"""Blocks, heads and header slots: what is written is read, and nothing else is."""

from __future__ import annotations

from random import Random

import google_crc32c
import pytest

from lamppost.ring import Record
from lamppost.ring import format as fmt
from lamppost.ring.absences import Absences, uncovered
from lamppost.ring.memory import Memory
from lamppost.ring.segments import segment_number, segment_size

RING = bytes(range(16))
SERIAL = (7 << 32) + 5


def block(first: int, payload: bytes, *, serial: int = SERIAL, ring: bytes = RING) -> bytes:
    body = fmt.pack_records([Record(2, payload)])
    return fmt.pack_block(fmt.frame(fmt.Kind.RECORDS, body, first, first + 1, 1), ring, serial)


def found(image: bytes, serial: int | None = SERIAL) -> list[int]:
    """First positions of good blocks, -1 for a hole."""
    seen = fmt.blocks(image, fmt.HEAD_BYTES, RING, serial)
    return [b.first if isinstance(b, fmt.Block) else -1 for b in seen]


def test_the_checksum_is_castagnolis() -> None:
    assert google_crc32c.value(b"123456789") == 0xE3069283
    assert fmt.seed(RING, 9) == google_crc32c.value(RING + bytes([9]) + bytes(7))


def test_records_come_back() -> None:
    records = [Record(3, b"a" * 20), Record(65_535, b""), Record(1, b"alarm", urgent=True)]
    what = fmt.frame(fmt.Kind.RECORDS, fmt.pack_records(records), 10, 65_548, 3)
    (read,) = fmt.blocks(fmt.pack_block(what, RING, SERIAL), 0, RING, SERIAL)
    assert isinstance(read, fmt.Block)
    assert [n.record for n in fmt.unpack_records(read)] == records
    assert [n.first for n in fmt.unpack_records(read)] == [10, 13, 65_548]
    assert (read.first, read.last) == (10, 65_548)


def test_what_repeats_is_compressed_and_what_does_not_is_left() -> None:
    assert len(block(0, b"voltage.l1 " * 500)) < 300
    assert len(block(0, Random(1).randbytes(5000))) <= 5000 + 60


def test_blocks_begin_at_multiples_of_eight() -> None:
    assert all(len(block(0, bytes(n))) % 8 == 0 for n in range(40))


def test_blocks_of_another_life_ring_or_place_do_not_count() -> None:
    image = block(0, b"one") + block(2, b"two")
    stale = block(4, b"three", serial=SERIAL - 1)
    assert found(image + stale) == [0, 2]
    assert found(image + block(4, b"three", ring=bytes(16))) == [0, 2]
    assert found(image + bytes(4) + block(4, b"not at a multiple of eight")) == [0, 2]
    assert found(stale, None) == [4]


def test_a_block_written_inside_a_payload_does_not_count() -> None:
    forged = block(100, b"forged", serial=SERIAL, ring=bytes(16))
    outer = bytearray(block(0, bytes(5) + forged))
    outer[60] ^= 1
    assert found(bytes(outer) + block(2, b"two")) == [-1, 2]


def test_any_single_flipped_bit_loses_only_its_block() -> None:
    whole = block(0, b"one") + block(2, b"two") + block(4, b"three")
    size = len(block(0, b"one"))
    for bit in range(len(whole) * 8):
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        good = [n for n in found(bytes(spoiled)) if n >= 0]
        if whole[: size * 2] == spoiled[: size * 2]:
            assert good[:2] == [0, 2]
        assert set(good) >= {0, 2, 4} - {2 * (bit // 8 // size) if bit // 8 < 2 * size else 4}


def test_a_torn_tail_is_the_end_and_a_hole_is_not() -> None:
    one, two, three = block(0, b"one" * 9), block(2, b"two" * 9), block(4, b"three")
    for cut in range(len(two)):
        kept = two[:cut] + bytes(len(two) - cut)
        if kept != two:
            assert found(one + kept) == [0]
            assert found(one + kept + three) == [0, -1, 4]


def header(turn: int, **changes: object) -> fmt.Header:
    values: dict[str, object] = {
        "ring": RING, "epoch": RING[::-1], "turn": turn, "opens": 3, "origin": 5, "settled": -1,
        "settled_seq": -1, "sealed_seq": 4, "next": 9, "evicted_through": -1, "evicted": 0,
        "limit": 2**40, "aside": (3, 9), "clean": True,
    }  # fmt: skip
    return fmt.Header(**{**values, **changes})  # type: ignore[arg-type]


def test_the_newer_good_slot_counts() -> None:
    slots = [fmt.pack_header(header(t)).ljust(fmt.SLOT, b"\0") for t in (8, 7)]
    file = b"".join(slots)
    assert fmt.read_header(file) == header(8)
    assert fmt.read_header(b"LAMPRING" + b"\xff" * 100 + file[108:]) == header(7)
    assert fmt.read_header(bytes(fmt.HEADER_BYTES)) is None
    spoiled = bytearray(file)
    spoiled[40] ^= 1
    spoiled[fmt.SLOT + 40] ^= 1
    assert fmt.read_header(bytes(spoiled)) is None


def test_a_header_holds_as_many_numbers_as_are_ever_set_aside() -> None:
    full = header(1, aside=tuple(range(fmt.MAX_ASIDE)))
    assert len(fmt.pack_header(full)) == fmt.SECTOR
    assert fmt.read_header(fmt.pack_header(full).ljust(fmt.HEADER_BYTES, b"\0")) == full


def test_another_file_is_foreign() -> None:
    with pytest.raises(fmt.Foreign):
        fmt.read_header(b"something else".ljust(fmt.HEADER_BYTES, b"\0"))


def test_segment_heads_come_back() -> None:
    head = fmt.SegmentHead(RING, RING, fmt.Role.KEPT, SERIAL, 4, 100, 0, 50, 3, 20, 9, 2**30)
    assert fmt.read_head(fmt.pack_head(head)) == head
    for place in range(fmt.HEAD_BYTES):
        spoiled = bytearray(fmt.pack_head(head))
        spoiled[place] ^= 0x10
        assert fmt.read_head(bytes(spoiled)) is None


def test_segment_sizes_and_names() -> None:
    assert [segment_size(n << 20) >> 10 for n in (1, 16, 64, 256, 4096)] == [
        128,
        256,
        1024,
        4096,
        4096,
    ]
    assert segment_number("000012.seg") == 12
    assert segment_number("ring.head") is None


def test_absences_keep_the_first_reason_and_join() -> None:
    absences = Absences()
    assert absences.add(10, 19, "damaged") == 10
    assert absences.add(5, 24, "evicted") == 10
    assert absences.add(25, 29, "evicted") == 5
    assert [tuple(a) for a in absences] == [
        (5, 9, "evicted"),
        (10, 19, "damaged"),
        (20, 29, "evicted"),
    ]
    absences.forget(19)
    assert [tuple(a) for a in absences] == [(20, 29, "evicted")]


def test_uncovered_parts() -> None:
    assert list(uncovered(0, 9, [(2, 3), (3, 5), (8, 20)])) == [(0, 1), (6, 7)]
    assert list(uncovered(0, 9, [])) == [(0, 9)]
    assert list(uncovered(4, 9, [(0, 9)])) == []


def test_memory_gives_up_the_oldest_ordinary_records_first() -> None:
    memory = Memory(1000)
    memory.add(0, [Record(2, bytes(100), urgent=i == 3) for i in range(10)])
    lost = memory.trim("read-only")
    assert [(a.first, a.last) for a in lost] == [(0, 1), (2, 3), (4, 5), (8, 9)]
    assert [n.first for n in memory.records()] == [6, 10, 12, 14, 16, 18]
    chunks = []
    while memory:
        chunk = memory.next(10_000)
        chunks.append(chunk if isinstance(chunk, tuple) else [n.first for n in chunk])
        memory.written(chunk)
    assert chunks == [(0, 5, "read-only"), [6], (8, 9, "read-only"), [10, 12, 14, 16, 18]]


def test_memory_full_of_urgent_records_gives_up_the_oldest() -> None:
    memory = Memory(500)
    memory.add(0, [Record(1, bytes(100), urgent=True) for _ in range(5)])
    assert [(a.first, a.last) for a in memory.trim("io-error")] == [(0, 0), (1, 1)]
