"""Framings: what is cut, what is dropped and counted, and that memory stays bounded."""

from __future__ import annotations

import re

import pytest

from lamppost_drivers.contract import FrameError, Framing
from lamppost_drivers.framing import (
    DelimitedFraming,
    FixedFraming,
    Framer,
    MbusFraming,
    ShdlcFraming,
    first,
    seek,
    stuff,
    unstuff,
)

FIXED = FixedFraming(b"\xaa\xbb", 5, lambda frame: frame[-1] == 0)
LINES = DelimitedFraming(b"R", re.compile(rb"\r"), 8, lambda frame: frame[1:-1].isdigit())


def test_fixed_frames_are_found_among_junk_and_the_junk_is_counted() -> None:
    framer = Framer(FIXED)
    assert list(framer.feed(b"junk\xaa\xbb12\x00\xaa")) == [b"\xaa\xbb12\x00"]
    assert framer.dropped == 4
    assert framer.held == 1
    assert list(framer.feed(b"\xbb34\x00")) == [b"\xaa\xbb34\x00"]
    assert framer.dropped == 4


def test_a_header_inside_a_bad_frame_is_not_lost() -> None:
    framer = Framer(FIXED)
    assert list(framer.feed(b"\xaa\xbb\xaa\xbb12\x00")) == [b"\xaa\xbb12\x00"]
    assert framer.dropped == 2


@pytest.mark.parametrize(
    ("buffer", "at"), [(b"", 0), (b"xa", 1), (b"ab", 0), (b"xxab", 2), (b"xx", 2), (b"aab", 1)]
)
def test_seek_keeps_what_may_be_the_start_of_a_header(buffer: bytes, at: int) -> None:
    assert seek(buffer, b"ab") == at


def test_lines_end_at_their_mark_or_their_limit() -> None:
    framer = Framer(LINES)
    assert list(framer.feed(b"R12\rR3x\rR45\r")) == [b"R12\r", b"R45\r"]
    assert list(framer.feed(b"R" + b"9" * 50)) == []
    assert framer.held < 8


def test_shdlc_comes_unstuffed_and_a_flag_may_serve_twice() -> None:
    body = bytes((0, 3, 0, 1, 0x7E))
    frame = body + bytes((~sum(body) & 0xFF,))
    wire = b"\x7e" + stuff(frame) + b"\x7e"
    framer = Framer(ShdlcFraming())
    assert list(framer.feed(b"\x7ejunk" + wire + wire)) == [frame, frame]
    assert framer.dropped == 5


def test_stuffing_turns_back_and_wrong_escapes_are_refused() -> None:
    plain = bytes(range(256))
    assert unstuff(stuff(plain)) == plain
    assert unstuff(b"\x7d\x00") is None
    assert unstuff(b"ab\x7d") is None


def test_mbus_knows_its_three_kinds_of_frame() -> None:
    short = bytes.fromhex("1040014116")
    long = bytes((0x68, 3, 3, 0x68, 0x08, 1, 0x78, 0x81, 0x16))
    framer = Framer(MbusFraming())
    assert list(framer.feed(b"\x00" + short + b"\xe5" + long + b"\x68\x04\x03\x68")) == [
        short,
        b"\xe5",
        long,
    ]
    assert (framer.dropped, framer.held) == (4, 1)


class Forever(Framing):
    """Never has enough."""

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        return 0, None


def test_a_framing_that_waits_for_ever_cannot_fill_memory() -> None:
    framer = Framer(Forever(), limit=100)
    for _ in range(1000):
        assert list(framer.feed(bytes(77))) == []
        assert framer.held <= 100
    assert framer.dropped + framer.held == 77_000


def test_reset_forgets_and_counts() -> None:
    framer = Framer(FIXED)
    list(framer.feed(b"\xaa\xbb1"))
    framer.reset()
    assert (framer.held, framer.dropped) == (0, 3)


def test_first_refuses_what_holds_no_frame() -> None:
    assert first(FIXED, b"xx\xaa\xbb12\x00yy") == b"\xaa\xbb12\x00"
    with pytest.raises(FrameError):
        first(FIXED, b"\xaa\xbb123")
