"""GPIO pins as counters of pulses, through RPi.GPIO or rpi-lgpio, which are one interface. Their only importer.

A thread of the library calls back for each edge. Bounces are dealt with here: with the libraries' own debouncing of
one edge, a contact that bounces when it opens counts twice. On rpi-lgpio the kernel's time and level of each edge are
used, so that nothing is missed on a busy machine; the RPi.GPIO of old boards tells neither, and the level is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import faults

_SHORTEST = 0.001
"""Seconds: what asks for less (hall sensors) does not bounce, and may be too fast for a look at each edge."""

_LATEST = 60_000_000_000
"""Nanoseconds: a stamp older than that is of another clock."""


@dataclass(frozen=True, slots=True)
class Edges:
    """How many edges came, and when the newest did (nanoseconds of CLOCK_MONOTONIC)."""

    count: int
    newest: int


class Tally:
    """Counts the edges of a pin that does not bounce. May be read from any thread."""

    def __init__(self) -> None:
        self._edges = Edges(0, 0)

    @property
    def edges(self) -> Edges:
        """As it stands now."""
        return self._edges

    def add(self, pin: int) -> None:
        """One more, now."""
        del pin
        self._edges = Edges(self._edges.count + 1, monotonic_ns())


class Contact:
    """Counts how often a contact came to `active`, a level that counts once it has stood for `debounce` nanoseconds.

    Told of every edge, both ways, by `add` or by `edge`.
    """

    def __init__(self, read: Callable[[int], int], pin: int, active: int, debounce: int) -> None:
        self._read = read
        self._active = active
        self._debounce = debounce
        self._settled = self._level = read(pin)
        self._changed = 0
        self._edges = Edges(0, 0)
        self._lock = threading.Lock()

    @property
    def edges(self) -> Edges:
        """As it stands now."""
        with self._lock:
            self._settle(monotonic_ns())
            return self._edges

    def add(self, pin: int) -> None:
        """An edge, now. After the last one of a bounce, the level that is read is the one that stays."""
        with self._lock:
            now = monotonic_ns()
            self._settle(now)
            self._level = self._read(pin)
            self._changed = now

    def edge(self, chip: int, pin: int, level: int, stamp: int) -> None:
        """An edge to `level` that the kernel saw at `stamp` nanoseconds (CLOCK_MONOTONIC, on old kernels UTC)."""
        del chip, pin
        if level not in (0, 1):
            return  # lgpio's watchdog
        with self._lock:
            now = monotonic_ns()
            at = stamp if 0 <= now - stamp < _LATEST else now
            self._settle(at)
            self._level, self._changed = level, at

    def _settle(self, now: int) -> None:
        if self._level == self._settled or now - self._changed < self._debounce:
            return
        self._settled = self._level
        if self._settled == self._active:
            self._edges = Edges(self._edges.count + 1, self._changed)


class Trace:
    """Every change of a pin, with its time; for diagnosis. May be read from any thread."""

    def __init__(self, read: Callable[[int], int], pin: int) -> None:
        self._read = read
        self.first = self._level = read(pin)
        self.edges: list[tuple[int, int]] = []

    def add(self, pin: int) -> None:
        """An edge, now, to the level that is read."""
        self._take(monotonic_ns(), self._read(pin))

    def edge(self, chip: int, pin: int, level: int, stamp: int) -> None:
        """See `Contact.edge`."""
        del chip, pin
        now = monotonic_ns()
        if level in (0, 1):
            self._take(stamp if 0 <= now - stamp < _LATEST else now, level)

    def _take(self, at: int, level: int) -> None:
        if level != self._level:
            self._level = level
            self.edges.append((at, level))


class GpioLink:
    """The pins of this board that were claimed. `folder` is writable: lgpio keeps a pipe in it."""

    def __init__(self, folder: Path) -> None:
        self.where = "GPIO"
        self.stray = 0
        self._folder = folder
        self._gpio: Any = None
        self._failures: tuple[type[Exception], ...] = (RuntimeError, OSError)
        self._pins: set[int] = set()
        self._lgpio: Any = None
        self._callbacks: list[Any] = []

    async def open(self) -> None:
        """Find the chip; harmless if done before. Raises LinkError `link.missing` or `link.not-installed`."""
        if self._gpio is not None:
            return
        os.environ.setdefault("LG_WD", str(self._folder))  # read when the library is imported
        try:
            import RPi.GPIO as GPIO

            with contextlib.suppress(ImportError):
                import lgpio

                self._lgpio = lgpio
                self._failures = (*self._failures, lgpio.error)
        except ImportError:
            raise faults.not_installed("GPIO", "gpio") from None
        except (RuntimeError, NotImplementedError, OSError) as why:
            raise _refused(why) from None
        try:
            GPIO.setwarnings(False)
            GPIO.setmode(GPIO.BCM)
        except self._failures as why:
            raise _refused(why) from None
        self._gpio = GPIO

    def claim(
        self, pin: int, edge: Literal["rising", "falling"], debounce: float
    ) -> Tally | Contact:
        """Count the pulses of a pin, pulled up, from now on. Raises LinkError `link.busy`; `link.lost` if not open."""
        gpio = self._gpio
        failures: tuple[type[Exception], ...] = (*self._failures, ValueError)
        if gpio is None:
            raise faults.not_open(self.where)
        try:
            gpio.setup(pin, gpio.IN, pull_up_down=gpio.PUD_UP)
            if debounce < _SHORTEST:
                tally: Tally | Contact = Tally()
                which = gpio.FALLING if edge == "falling" else gpio.RISING
            else:
                active = 0 if edge == "falling" else 1
                tally = Contact(gpio.input, pin, active, round(debounce * 1e9))
                which = gpio.BOTH
            self._listen(pin, which, tally)
        except failures as why:
            raise faults.pin_refused(pin, why) from None
        self._pins.add(pin)
        return tally

    def trace(self, pin: int) -> Trace:
        """Note every change of a pin, pulled up, from now on. Raises LinkError as `claim` does."""
        gpio = self._gpio
        failures: tuple[type[Exception], ...] = (*self._failures, ValueError)
        if gpio is None:
            raise faults.not_open(self.where)
        try:
            gpio.setup(pin, gpio.IN, pull_up_down=gpio.PUD_UP)
            found = Trace(gpio.input, pin)
            self._listen(pin, gpio.BOTH, found)
        except failures as why:
            raise faults.pin_refused(pin, why) from None
        self._pins.add(pin)
        return found

    def _listen(self, pin: int, which: int, tally: Tally | Contact | Trace) -> None:
        gpio, chip = self._gpio, getattr(self._gpio, "_chip", None)
        if isinstance(tally, Tally):
            gpio.add_event_detect(pin, which, callback=tally.add)
        elif self._lgpio is not None and chip is not None:
            both = self._lgpio.BOTH_EDGES
            self._callbacks.append(self._lgpio.callback(chip, pin, both, tally.edge))
            gpio.add_event_detect(pin, which)
            tally.add(pin)  # an edge before the library listened
        else:
            gpio.add_event_detect(pin, which, callback=tally.add)
            tally.add(pin)

    def close(self) -> None:
        """Give the pins back; harmless if it is closed."""
        gpio, self._gpio = self._gpio, None
        for callback in self._callbacks:
            callback.cancel()
        self._callbacks.clear()
        for pin in self._pins:
            # Not cleanup() alone: with edge detection still on, it may call the pin busy.
            with contextlib.suppress(*self._failures):
                gpio.remove_event_detect(pin)
            with contextlib.suppress(*self._failures):
                gpio.cleanup(pin)
        self._pins.clear()


def _refused(why: Exception) -> LinkError:
    """Why there is no chip: the libraries say the same where it is not there and where it may not be opened."""
    for chip in sorted(Path("/dev").glob("gpiochip*")):
        if not os.access(chip, os.R_OK | os.W_OK):
            return faults.cannot_open(chip, PermissionError(errno.EACCES, "no permission"))
    return faults.no_gpio(why)
