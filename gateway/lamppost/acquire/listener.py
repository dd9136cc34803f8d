"""One coroutine a device that talks unasked: cut frames out of the stream, decode the newest that is due."""

from __future__ import annotations

import math

from lamppost.acquire.device import Device
from lamppost.acquire.outcome import ask
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.serial_line import SerialLine
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import corrupt, no_answer
from lamppost.model import Instant, Quality
from lamppost.quality.codes import quality
from lamppost_drivers.contract import StreamDriver
from lamppost_drivers.framing import Framer

_NO_RESPONSE = quality("no_response")
_NOT_CONNECTED = quality("not_connected")
_CORRUPT = quality("corrupt")
_MAINTENANCE = quality("maintenance")

_SLICE = 1.0
"""Seconds the bus is held for one wait, and so how long a lease may have to wait."""
_GATHER = 0.03
"""Seconds in which more of a frame is awaited before anybody looks: fewer wakes than one a byte."""
_PATIENCE = 3
"""Periods without a sound frame after which a device counts as silent."""


class Listener:
    """Listens for ever. Cancel `run` to stop it; the link is closed then.

    A device sends at its own pace: of its frames the first after each multiple of `every` is delivered.
    """

    def __init__(
        self,
        port: Port[SerialLine],
        device: Device,
        driver: StreamDriver,
        every: float,
        clock: Clock,
    ) -> None:
        self.port = port
        self._device = device
        self._driver = driver
        self._every = every
        self._clock = clock
        self._framer = Framer(driver.framing)
        self._names = tuple(point.name for point in device.points)
        self._patience = max(_PATIENCE * driver.period, 1.0)
        self._slack = min(every, driver.period) / 2
        self._due = clock.monotonic()
        self._silent_from = self._due + self._patience

    def status(self) -> BusStatus:
        """The link and its device as they are now."""
        return self.port.status([self._device])

    async def run(self) -> None:
        """Listen. A lost link or a silent device never ends it."""
        try:
            while True:
                if self.port.bus.leased:
                    await self._wait(_MAINTENANCE, self._clock.monotonic() + _SLICE)
                elif not self.port.is_open:
                    await self._open()
                else:
                    await self._turn()
        finally:
            self.port.close()

    async def _open(self) -> None:
        if not await self.port.try_open():
            await self._wait(_NOT_CONNECTED, self.port.health.next_try)
            return
        self._framer.reset()
        self._silent_from = self._clock.monotonic() + self._patience
        await self._wake()

    async def _wake(self) -> None:
        """Tell it to talk, where it must be told."""
        if self._driver.wake and self.port.is_open:
            try:
                async with self.port.bus.turn:
                    await self.port.link.send(self._driver.wake)
            except LinkError as error:
                self.port.lost(error)

    async def _wait(self, reason: Quality, until: float) -> None:
        """Say that there is nothing, whenever it is due, and wait."""
        self._tell(reason)
        await self._clock.sleep_until(min(until, self._due))

    def _tell(self, reason: Quality) -> None:
        now = self._clock.monotonic()
        if now >= self._due:
            self._due += self._beats(now, 0.0) * self._every
            self._device.give_absent(self._names, reason, self._every)

    def _beats(self, now: float, slack: float) -> int:
        """How many steps of `every` bring `_due` beyond `now`."""
        return math.floor((now + slack - self._due) / self._every) + 1

    async def _turn(self) -> None:
        left = min(self._silent_from - self._clock.monotonic(), _SLICE)
        try:
            async with self.port.bus.turn:
                data = await self.port.link.receive(max(left, 0.0))
                at = self._clock.now()
                if data:
                    await self._clock.sleep_until(self._clock.monotonic() + _GATHER)
                    data += await self.port.link.receive(0.0)
        except LinkError as error:
            self.port.lost(error)
            return
        if data:
            self.port.worked()
            self._take(at, data)
        if self._clock.monotonic() >= self._silent_from:
            await self._missed()
        if self._device.health.misses:
            self._tell(self._device.reason)

    def _take(self, at: Instant, data: bytes) -> None:
        frames = ask(self._device.model, lambda: list(self._framer.feed(data)))
        if isinstance(frames, Quality):
            self._framer.reset()
            return
        if not frames:
            return
        now, device = self._clock.monotonic(), self._device
        self.port.link.stray += self._framer.dropped
        self._framer.dropped = 0
        device.polls += len(frames)
        device.answered(now)
        self._silent_from = now + self._patience
        if now < self._due - self._slack:
            return
        self._due += self._beats(now, self._slack) * self._every
        values = ask(device.model, self._driver.decode, frames[-1])
        if isinstance(values, Quality):
            device.corrupt += 1
            device.give(at, device.missing(self._names, values))
        else:
            device.ok += 1
            device.give(at, device.checker.check(self._names, values, now))

    async def _missed(self) -> None:
        """Too long without a sound frame: silent, or talking nonsense."""
        now, device, where = self._clock.monotonic(), self._device, self.port.link.where
        self._silent_from = now + self._patience
        if nonsense := self._framer.dropped:
            device.corrupt += 1
            said = f"{where}: {nonsense} bytes that belong to no frame"
            device.missed(corrupt(said, b"", ended=True), _CORRUPT, now)
        else:
            device.timeouts += 1
            device.missed(no_answer(where, self._patience), _NO_RESPONSE, now)
        self._framer.reset()
        self._framer.dropped = 0
        await self._wake()
