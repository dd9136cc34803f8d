"""One coroutine for all pulse inputs: totals that never step back, and rates from the times of edges.

A total is durable before it is delivered. It is saved every `save` seconds at most, so a delivered total may be so
old, and a power cut or a kill loses at most the pulses of the last `save` seconds (and those while it was off).
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Sequence
from typing import Literal, Protocol

from lamppost.acquire.counts import CountsFile, Total
from lamppost.acquire.device import Device
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import Schedule
from lamppost.clock import Clock, monotonic_ns
from lamppost.errors import LinkError
from lamppost.links.faults import not_kept
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Absent, PulseDriver, Scalar

_NOT_CONNECTED = quality("not_connected")
_MAINTENANCE = quality("maintenance")
_NS = 1e9
_STOPPED = 10.0
"""A meter that has not pulsed for so many of its last intervals stands still."""
_UNKNOWN = 60.0
"""Seconds without any pulse after the start from which on a meter is said to stand still."""
_log = logging.getLogger(__name__)


class Edges(Protocol):
    """How many edges came, and when the newest did (nanoseconds of CLOCK_MONOTONIC)."""

    @property
    def count(self) -> int:
        """Since the pin was claimed."""
        ...

    @property
    def newest(self) -> int:
        """0 before the first."""
        ...


class Tally(Protocol):
    """Counts the edges of a pin."""

    @property
    def edges(self) -> Edges:
        """As it stands now."""
        ...


class Pins(Protocol):
    """`links.gpio.GpioLink`, or a test's stand-in for it."""

    stray: int

    @property
    def where(self) -> str:
        """For people."""
        ...

    async def open(self) -> None:
        """Open it. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def claim(self, pin: int, edge: Literal["rising", "falling"], debounce: float) -> Tally:
        """Count the edges of a pin. Raises LinkError."""
        ...


class Rate:
    """Edges a second, from the times of the newest edges. `look` is called once a sample."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._count = 0
        self._newest = 0
        self._hertz: float | None = None

    def look(self, edges: Edges, now: int, every: float) -> float | None:
        """The rate now (hertz), or None while it cannot be known; times in nanoseconds.

        Without new edges it can only be less than one in the time since the last, and after long enough it is 0.
        """
        came, before = edges.count - self._count, self._newest
        self._count, self._newest = edges.count, edges.newest
        if not came:
            return self._without_news(now, every)
        if before and edges.newest > before:
            self._hertz = came * _NS / (edges.newest - before)
        return self._hertz

    def _without_news(self, now: int, every: float) -> float | None:
        silent = (now - (self._newest or self._start)) / _NS
        if self._hertz is None:
            return 0.0 if silent >= _UNKNOWN else None
        if silent >= max(_STOPPED / self._hertz, 2 * every):
            return 0.0
        return min(self._hertz, 1 / silent)


class Counted:
    """A device with a pulse output: its pin, what a pulse is worth, its total."""

    def __init__(
        self,
        device: Device,
        driver: PulseDriver,
        pin: int,
        every: float,
        *,
        per_pulse: float | None = None,
        debounce: float | None = None,
        edge: Literal["rising", "falling"] | None = None,
    ) -> None:
        self.device = device
        self.every = every
        self.names = tuple(point.name for point in device.points)
        self.per_pulse = driver.per_pulse if per_pulse is None else per_pulse
        self.total = self.kept = Total(0.0, 0, self.per_pulse)
        self._rate_factor = driver.rate_per_hertz * self.per_pulse / driver.per_pulse
        self._driver = driver
        self._pin = pin
        self._debounce = driver.debounce if debounce is None else debounce
        self._edge = edge or driver.edge
        self._tally: Tally | None = None
        self._rate = Rate(0)
        self._taken = 0

    def resume(self, total: Total) -> None:
        """Go on from what was saved."""
        self.total = self.kept = total.worth(self.per_pulse)

    def claim(self, link: Pins) -> None:
        """Count on this link from now on. Raises LinkError."""
        if self._tally is None:
            self._tally = link.claim(self._pin, self._edge, self._debounce)
            self._rate = Rate(monotonic_ns())
            self._taken = 0

    def take(self) -> None:
        """Add what came since."""
        if self._tally is not None:
            count = self._tally.edges.count
            self.total = self.total.plus(count - self._taken)
            self._taken = count

    def release(self) -> None:
        """The link is closed."""
        self.take()
        self._tally = None

    def values(self) -> dict[str, Scalar | Absent]:
        """The total as it was saved, and the rate as it is."""
        found: dict[str, Scalar | Absent] = {self._driver.total.name: self.kept.value}
        if self._driver.rate is not None and self._tally is not None:
            hertz = self._rate.look(self._tally.edges, monotonic_ns(), self.every)
            found[self._driver.rate.name] = (
                Absent.NOT_AVAILABLE if hertz is None else hertz * self._rate_factor
            )
        return found


class Pulses:
    """Counts for ever. Cancel `run` to stop it: the totals are saved and the pins given back."""

    def __init__(
        self,
        port: Port[Pins],
        counted: Sequence[Counted],
        file: CountsFile,
        save: float,
        clock: Clock,
    ) -> None:
        self.port = port
        self._counted = tuple(counted)
        self._file = file
        self._save_every = save
        self._clock = clock
        self._saved_at = -math.inf
        self._fault: LinkError | None = None
        self._writing = threading.Lock()
        self._schedule: Schedule[Counted] = Schedule()
        for each in self._counted:
            self._schedule.add(each, each.every, clock.monotonic() + each.every)

    def status(self) -> BusStatus:
        """The link and its devices as they are now."""
        return self.port.status([each.device for each in self._counted])

    async def run(self) -> None:
        """Count. A pin that is held by somebody else stops no other one."""
        kept = self._file.load()
        for each in self._counted:
            if each.device.name in kept:
                each.resume(kept[each.device.name])
        try:
            while True:
                if not self.port.is_open and await self.port.try_open():
                    for each in self._counted:
                        self._claim(each)
                await self._clock.sleep_until(self._next())
                await self._turn()
        finally:
            for each in self._counted:
                each.release()
            self._write()
            self.port.close()

    def _next(self) -> float:
        beat = self._schedule.next()
        if not self.port.is_open:
            return min(beat, self.port.health.next_try)
        return min(beat, max(self._clock.monotonic(), self._saved_at + self._save_every))

    def _claim(self, each: Counted) -> bool:
        try:
            each.claim(self.port.link)
        except LinkError as error:
            each.device.missed(error, _NOT_CONNECTED, self._clock.monotonic())
            return False
        each.device.answered(self._clock.monotonic())
        return True

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        if now >= self._saved_at + self._save_every:
            await self._save()
        beat = self._schedule.take(now)
        if beat is None:
            return
        self.port.skip(beat.skipped)
        each = beat.key
        if self.port.bus.leased:
            each.device.give_absent(each.names, _MAINTENANCE, each.every)
        elif not self.port.is_open or not self._claim(each):
            each.device.give_absent(each.names, _NOT_CONNECTED, each.every)
        else:
            each.device.polls += 1
            each.device.ok += 1
            if self._fault is not None:
                each.device.complained(self._fault)
            at, values = self._clock.now(), each.values()
            each.device.give(at, each.device.checker.check(each.names, values, now))

    # --- what is kept

    async def _save(self) -> None:
        self._saved_at = self._clock.monotonic()
        for each in self._counted:
            each.take()
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        """Make the totals durable, where any has changed. A disk that refuses is said once, and counting goes on."""
        with (
            self._writing
        ):  # the last write, at the stop, must not be overtaken by one that still runs
            totals = {each: each.total for each in self._counted}
            if all(each.total == each.kept for each in totals) and self._fault is None:
                return
            try:
                self._file.save({each.device.name: total for each, total in totals.items()})
            except OSError as why:
                if self._fault is None:
                    self._fault = error = not_kept(self._file.path, why)
                    _log.error("%s [%s] %s", error, error.code, error.hint)
            else:
                self._fault = None
            for each, total in totals.items():
                each.kept = total
