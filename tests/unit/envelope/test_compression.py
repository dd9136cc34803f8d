"""Bombs and odd frames are refused before a byte is decompressed (attacks.md, row 6)."""

from __future__ import annotations

import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lamppost.envelope.compression import MAX_PAYLOAD, compress, decompress
from lamppost.envelope.refusal import EnvelopeError
from unit.envelope.world import mutations, refused

MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK = 128 * 1024
PAYLOAD = b'{"a":1}' * 3000


def bomb(length: int, declared: int | None, window_log: int = 23) -> bytes:
    """A frame of RLE blocks that becomes `length` zeros, with a header that says what we like (RFC 8878 §3.1.1)."""
    if declared is None:
        frame = MAGIC + bytes([0x00, (window_log - 10) << 3])
    else:
        frame = MAGIC + bytes([0xC0, (window_log - 10) << 3]) + declared.to_bytes(8, "little")
    while length:
        size = min(length, BLOCK)
        length -= size
        frame += (size << 3 | 1 << 1 | (not length)).to_bytes(3, "little") + b"\x00"
    return frame


def test_the_forged_frames_are_valid_zstd() -> None:
    assert zstandard.ZstdDecompressor().decompress(bomb(300_000, 300_000)) == bytes(300_000)
    assert decompress(bomb(300_000, 300_000)) == bytes(300_000)


@pytest.mark.parametrize(
    "frame",
    [
        bomb(500_000_000, 500_000_000),
        bomb(500_000_000, None),
        bomb(MAX_PAYLOAD + 1, MAX_PAYLOAD + 1),
        bomb(1000, 1000, window_log=25),
        bomb(1000, (1 << 64) - 1),
    ],
    ids=[
        "500 MB",
        "500 MB undeclared",
        "one past the limit",
        "large window",
        "unknown as a number",
    ],
)
def test_bombs_are_refused_before_decompression(frame: bytes) -> None:
    assert len(frame) < 100_000
    tracemalloc.start()
    with refused("envelope.compression"):
        decompress(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_frame_that_lies_about_its_size_stays_in_its_bounds() -> None:
    decompress(compress(PAYLOAD))  # this thread's context
    tracemalloc.start()
    for declared in (1000, 499_000):
        with refused("envelope.compression"):
            decompress(bomb(500_000_000, declared))
    with refused("envelope.compression"):
        decompress(bomb(1000, 2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"(",
        MAGIC,
        PAYLOAD[:100],
        compress(PAYLOAD)[:-1],
        compress(PAYLOAD) + b"\x00",
        compress(PAYLOAD) + compress(PAYLOAD),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + compress(PAYLOAD),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",
        zstandard.ZstdCompressor().compress(b""),
        zstandard.ZstdCompressor(write_content_size=False).compress(PAYLOAD),
    ],
    ids=[
        "empty",
        "one byte",
        "magic alone",
        "not zstd",
        "cut",
        "trailing byte",
        "second frame",
        "skippable before",
        "skippable alone",
        "frame of nothing",
        "size not declared",
    ],
)
def test_other_frames_are_refused(frame: bytes) -> None:
    with refused("envelope.compression"):
        decompress(frame)


def test_a_dictionary_is_refused() -> None:
    words = zstandard.train_dictionary(
        2048, [b"%d urn:ngsi-ld:Device:%d" % (i, i * 7) for i in range(2000)]
    )
    assert words.dict_id()
    with refused("envelope.compression"):
        decompress(zstandard.ZstdCompressor(dict_data=words).compress(PAYLOAD))


def test_the_limit_itself_goes_both_ways() -> None:
    largest = bytes(MAX_PAYLOAD)
    assert decompress(compress(largest)) == largest
    with refused("envelope.too-big"):
        compress(largest + b"\x00")
    with refused("envelope.compression"):
        compress(b"")


@given(st.binary(min_size=1, max_size=5000))
def test_what_is_compressed_comes_back(payload: bytes) -> None:
    assert decompress(compress(payload)) == payload


def test_mutated_frames_give_bounded_bytes_or_the_one_error() -> None:
    for changed in mutations(compress(PAYLOAD), 3000, seed=6):
        try:
            assert len(decompress(changed)) <= MAX_PAYLOAD
        except EnvelopeError as error:
            assert error.code == "envelope.compression"
