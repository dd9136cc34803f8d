"""The kernel's counters of a serial port: their layout, and ports that have none."""

from __future__ import annotations

import os
import pty
import struct

import pytest

from lamppost.links import counters
from lamppost.links.counters import Counters


def test_the_layout_of_linux() -> None:
    """serial_icounter_struct of linux/serial.h: twenty ints."""
    raw = struct.pack("=20i", 1, 2, 3, 4, 100, 200, 7, 5, 3, 2, 1, *range(9))
    assert counters.decode(raw) == Counters(frame=7, overrun=6, parity=3, breaks=2)


def test_a_difference_is_what_happened_in_between() -> None:
    assert Counters(9, 1, 4, 3).since(Counters(7, 1, 0, 3)) == Counters(2, 0, 4, 0)


def test_a_pseudo_terminal_does_not_count() -> None:
    ours, theirs = pty.openpty()
    try:
        assert counters.read(theirs) is None
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_driver_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(descriptor: int, request: int, raw: bytes) -> bytes:
        assert (request, len(raw)) == (0x545D, 80)
        return struct.pack("=20i", *([0] * 6), 12, 0, 4, 1, 0, *([0] * 9))

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    assert counters.read(0) == Counters(12, 0, 4, 1)
