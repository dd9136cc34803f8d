"""Pulse counting over the RPi.GPIO of old boards, which tells neither time nor level of an edge; no lgpio is there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lamppost.errors import LinkError
from lamppost.links import gpio
from lamppost.links.gpio import GpioLink

MS = 1_000_000


class OldGpio(ModuleType):
    """RPi.GPIO 0.7.1 as far as it is used: levels by pin, callbacks with the pin alone."""

    BCM, IN, PUD_UP, RISING, FALLING, BOTH = 11, 1, 22, 31, 32, 33

    def __init__(self) -> None:
        super().__init__("RPi.GPIO")
        self.levels: dict[int, int] = {}
        self.detected: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.held: set[int] = set()
        self.mode = 0

    def setwarnings(self, on: bool) -> None:
        assert on is False

    def setmode(self, mode: int) -> None:
        self.mode = mode

    def setup(self, pin: int, direction: int, pull_up_down: int) -> None:
        assert (self.mode, direction, pull_up_down) == (self.BCM, self.IN, self.PUD_UP)
        self.levels[pin] = 1

    def input(self, pin: int) -> int:
        return self.levels[pin]

    def add_event_detect(self, pin: int, edge: int, callback: Callable[[int], None]) -> None:
        if pin in self.held or pin in self.detected:
            raise RuntimeError("Failed to add edge detection")
        self.detected[pin] = (edge, callback)

    def remove_event_detect(self, pin: int) -> None:
        del self.detected[pin]

    def cleanup(self, pin: int) -> None:
        if pin in self.detected:
            raise RuntimeError("GPIO busy")
        del self.levels[pin]

    def set(self, pin: int, level: int) -> None:
        """The world pulls a pin to a level."""
        self.levels[pin] = level
        edge, callback = self.detected[pin]
        if edge in (self.BOTH, self.RISING if level else self.FALLING):
            callback(pin)


class Now:
    """The nanoseconds that the link sees."""

    def __init__(self) -> None:
        self.ns = 1_000 * MS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture()
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    made = Now()
    monkeypatch.setattr(gpio, "monotonic_ns", made)
    return made


@pytest.fixture()
def board(monkeypatch: pytest.MonkeyPatch) -> OldGpio:
    made, package = OldGpio(), ModuleType("RPi")
    package.GPIO = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "RPi", package)
    monkeypatch.setitem(sys.modules, "RPi.GPIO", made)
    monkeypatch.setitem(sys.modules, "lgpio", None)  # importing it fails
    return made


def opened(folder: Path) -> GpioLink:
    link = GpioLink(folder)
    asyncio.run(link.open())
    return link


def test_bounces_of_a_contact_count_once(board: OldGpio, now: Now, tmp_path: Path) -> None:
    link = opened(tmp_path)
    counted = link.claim(17, "falling", 0.005)
    now.ns += 20 * MS
    for _ in range(3):
        for level in (0, 1):
            for bounce in range(5):
                board.set(17, level ^ bounce % 2)
                now.ns += MS // 2
            now.ns += 20 * MS
    assert counted.edges.count == 3
    assert now.ns - 30 * MS - 22 * MS < counted.edges.newest < now.ns
    link.close()
    assert not board.detected
    assert not board.levels


def test_a_pulse_shorter_than_the_debounce_is_none(
    board: OldGpio, now: Now, tmp_path: Path
) -> None:
    counted = opened(tmp_path).claim(17, "falling", 0.005)
    now.ns += 20 * MS
    board.set(17, 0)
    now.ns += 4 * MS
    board.set(17, 1)
    now.ns += 20 * MS
    assert counted.edges.count == 0


def test_a_fast_sensor_is_counted_by_its_edges(board: OldGpio, now: Now, tmp_path: Path) -> None:
    counted = opened(tmp_path).claim(4, "rising", 0.0)
    for _ in range(7):
        for level in (0, 1):
            now.ns += MS // 10
            board.set(4, level)
    assert (counted.edges.count, counted.edges.newest) == (7, now.ns)


def test_a_pin_that_somebody_holds(board: OldGpio, now: Now, tmp_path: Path) -> None:
    board.held.add(17)
    link = opened(tmp_path)
    with pytest.raises(LinkError) as refused:
        link.claim(17, "falling", 0.005)
    assert refused.value.code == "link.busy"
    link.claim(18, "falling", 0.005)
    link.close()


def test_no_raspberry_pi_and_no_library(
    board: OldGpio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def not_a_pi(number: int) -> None:
        raise RuntimeError(f"This module can only be run on a Raspberry Pi! ({number})")

    monkeypatch.setattr(board, "setmode", not_a_pi)
    with pytest.raises(LinkError) as missing:
        opened(tmp_path)
    assert missing.value.code == "link.missing"
    monkeypatch.setitem(sys.modules, "RPi.GPIO", None)
    monkeypatch.delattr(sys.modules["RPi"], "GPIO")
    with pytest.raises(LinkError) as absent:
        opened(tmp_path)
    assert absent.value.code == "link.not-installed"
