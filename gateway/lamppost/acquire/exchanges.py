"""One coroutine a bus of devices that must be asked in their own words: a UART with one, I2C and M-Bus with many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic

from lamppost.acquire.conversation import Peer, play
from lamppost.acquire.device import Device
from lamppost.acquire.health import ProbeBudget, State
from lamppost.acquire.port import Link, Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import Schedule
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import corrupt
from lamppost.model import Quality
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Absent, Exchange, ExchangeDriver, Values

_NO_RESPONSE = quality("no_response")
_NOT_CONNECTED = quality("not_connected")
_MAINTENANCE = quality("maintenance")

_SILENT = ("link.no-answer", "link.stuck")
"""Errors that concern the device that was asked; all others concern the link."""
_LEASE_LOOK = 0.5
_OVERDUE = 1.0
"""Seconds that a silent device gives way to those whose turn it is."""
_EMPTY = 60.0
"""Seconds without any value after which a device is set up again: it may have lost its power unnoticed."""


class Asked:
    """A device on the bus: its driver, its address, how often it is asked, and the way to it."""

    def __init__(
        self, device: Device, driver: ExchangeDriver, address: int, every: float, peer: Peer
    ) -> None:
        self.device = device
        self.every = every
        self.names = tuple(point.name for point in device.points)
        self.is_set_up = driver.setup is None
        self.empty_since: float | None = None
        self._driver = driver
        self._address = address
        self._peer = peer

    async def set_up(self, clock: Clock) -> None:
        """Play its set-up, where it has one and lost it. Raises LinkError."""
        if self._driver.setup is not None and not self.is_set_up:
            await self._play(clock, self._driver.setup(self._address))

    async def measure(self, clock: Clock) -> Values | Quality:
        """Play its measurement. Raises LinkError."""
        return await self._play(clock, self._driver.measure(self._address))

    def forget_set_up(self) -> None:
        """It may have lost its power."""
        self.is_set_up = self._driver.setup is None

    def note(self, values: Values, now: float) -> None:
        """Have it set up again where it answers for long without a value."""
        if not all(isinstance(value, Absent) for value in values.values()):
            self.empty_since = None
        elif self.empty_since is None:
            self.empty_since = now
        elif now - self.empty_since >= _EMPTY:
            self.empty_since = None
            self.forget_set_up()

    async def _play(self, clock: Clock, exchange: Exchange) -> Values | Quality:
        return await play(self.device.model, self._peer, clock, exchange)


class Exchanges(Generic[Link]):
    """Asks the devices of one bus for ever. Cancel `run` to stop it; the link is closed then."""

    def __init__(
        self, port: Port[Link], asked: Sequence[Asked], clock: Clock, first: Sequence[float]
    ) -> None:
        """`first`: seconds from now to the first beat of each device."""
        self.port = port
        self._asked = tuple(asked)
        self._clock = clock
        self._schedule: Schedule[Asked] = Schedule()
        self._budget = ProbeBudget()
        now = clock.monotonic()
        for each, phase in zip(self._asked, first, strict=True):
            self._schedule.add(each, each.every, now + phase)

    def status(self) -> BusStatus:
        """The link and its devices as they are now."""
        return self.port.status([each.device for each in self._asked])

    async def run(self) -> None:
        """Ask whenever it is due. A lost link or a silent device never ends it."""
        try:
            while True:
                due = self._next()
                if due > self._clock.monotonic():
                    await self._clock.sleep_until(due)
                await self._turn()
        finally:
            self.port.close()

    # --- what is next

    def _next(self) -> float:
        beat = self._schedule.next()
        if self.port.bus.leased:
            return min(beat, self._clock.monotonic() + _LEASE_LOOK)
        if not self.port.is_open:
            return min(beat, self.port.health.next_try)
        return min(beat, self._retry()[0])

    def _retry(self) -> tuple[float, Asked | None]:
        """The silent device whose turn to be asked again is next, and when that is."""
        alive = any(each.device.health.state is State.OK for each in self._asked)
        free = self._budget.free(alive)
        best: tuple[float, Asked | None] = (math.inf, None)
        for each in self._asked:
            health = each.device.health
            if health.misses:
                when = max(health.next_try, free if health.state is State.DEAD else -math.inf)
                best = min(best, (when, each), key=lambda found: found[0])
        return best

    async def _turn(self) -> None:
        leased = self.port.bus.leased
        opened = self.port.is_open or (not leased and await self._open())
        now = self._clock.monotonic()
        when, silent = self._retry() if opened and not leased else (math.inf, None)
        overdue = 0.0 if self._schedule.next() > now else _OVERDUE
        if silent is not None and when <= now - overdue:
            await self._ask(silent)
        elif (beat := self._schedule.take(now)) is not None:
            self.port.skip(beat.skipped)
            each, health = beat.key, beat.key.device.health
            if leased:
                each.device.give_absent(each.names, _MAINTENANCE, each.every)
            elif not opened:
                each.device.give_absent(each.names, _NOT_CONNECTED, each.every)
            elif health.state is State.DEAD or health.resting(now):
                each.device.give_absent(each.names, each.device.reason, each.every)
            else:
                await self._ask(each)

    async def _open(self) -> bool:
        for each in self._asked:
            each.forget_set_up()
        return await self.port.try_open()

    # --- one device

    async def _ask(self, each: Asked) -> None:
        device, at = each.device, self._clock.now()
        was_dead, started = device.health.state is State.DEAD, self._clock.monotonic()
        device.polls += 1
        try:
            async with self.port.bus.turn:
                await each.set_up(self._clock)
                values = await each.measure(self._clock)
            each.is_set_up = True
        except LinkError as error:
            self._failed(each, error)
            if was_dead:
                now = self._clock.monotonic()
                dead = sum(other.device.health.state is State.DEAD for other in self._asked)
                self._budget.spent(now, now - started, dead)
            return
        now = self._clock.monotonic()
        self.port.worked()
        if isinstance(values, Quality):
            self._misunderstood(each, values, now)
            return
        device.answered(now)
        device.ok += 1
        each.note(values, now)
        device.give(at, device.checker.check(each.names, values, now))

    def _misunderstood(self, each: Asked, reason: Quality, now: float) -> None:
        device = each.device
        device.corrupt += 1
        where = f"{self.port.link.where}: {device.name}"
        device.missed(corrupt(where, b"", ended=True), reason, now, there=True)
        device.give_absent(each.names, reason, each.every)

    def _failed(self, each: Asked, error: LinkError) -> None:
        device = each.device
        each.forget_set_up()
        if error.code not in _SILENT:
            self.port.lost(error)
            device.give_absent(each.names, _NOT_CONNECTED, each.every)
            return
        device.timeouts += 1
        device.missed(error, _NO_RESPONSE, self._clock.monotonic())
        device.give_absent(each.names, _NO_RESPONSE, each.every)
