"""One coroutine a serial device that must be asked in its own words: play the driver's exchange against the link."""

from __future__ import annotations

from lamppost.acquire.device import Device
from lamppost.acquire.outcome import Finished, ask, step
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import Beat, Schedule
from lamppost.acquire.serial_line import SerialLine
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import corrupt, no_answer
from lamppost.model import Quality
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Exchange, ExchangeDriver, Read, Values, Wait, Write

_NO_RESPONSE = quality("no_response")
_NOT_CONNECTED = quality("not_connected")
_CORRUPT = quality("corrupt")
_MAINTENANCE = quality("maintenance")

FIRST_BYTE = 1.0
"""Seconds a device may take before it begins to answer; a driver that knows it to be slower waits first."""
_ADAPTER = 0.04
_GAP_CHARACTERS = 33
"""Silence that ends an answer of unknown length: EN 13757-2 allows 33 bit times between bytes, USB adapters more."""


async def play(model: str, link: SerialLine, clock: Clock, exchange: Exchange) -> Values | Quality:
    """Play an exchange to its end: its values, or why there are none. Raises LinkError, also `link.no-answer`."""
    received: bytes | None = None
    try:
        while True:
            now = ask(model, step, exchange, received)
            received = b""
            if isinstance(now, Finished):
                values: Values = now.result
                return values
            if isinstance(now, Quality):
                return now
            if isinstance(now, Write):
                await link.send(now.data)
            elif isinstance(now, Wait):
                await clock.sleep_until(clock.monotonic() + now.seconds)
            else:
                received = await _receive(link, now)
                if not received:
                    raise no_answer(link.where, FIRST_BYTE)
    finally:
        ask(model, exchange.close)


async def _receive(link: SerialLine, read: Read) -> bytes:
    """Up to `count` bytes until the line falls silent, or `until` ends them."""
    gap = max(_ADAPTER, _GAP_CHARACTERS * link.character)
    data = await link.receive(FIRST_BYTE)
    while data and len(data) < read.count and not (read.until and read.until in data):
        more = await link.receive(gap)
        if not more:
            break
        data += more
    return data


class Conversation:
    """Asks one device for ever. Cancel `run` to stop it; the link is closed then."""

    def __init__(
        self,
        port: Port[SerialLine],
        device: Device,
        driver: ExchangeDriver,
        every: float,
        clock: Clock,
    ) -> None:
        self.port = port
        self._device = device
        self._driver = driver
        self._address = driver.address if device.unit is None else device.unit
        self._every = every
        self._clock = clock
        self._names = tuple(point.name for point in device.points)
        self._schedule: Schedule[str] = Schedule()
        self._schedule.add(device.name, every, clock.monotonic())
        self._set_up = False

    def status(self) -> BusStatus:
        """The link and its device as they are now."""
        return self.port.status([self._device])

    async def run(self) -> None:
        """Ask whenever it is due. A lost link or a silent device never ends it."""
        try:
            while True:
                await self._clock.sleep_until(self._next())
                await self._turn()
        finally:
            self.port.close()

    def _next(self) -> float:
        beat, health = self._schedule.next(), self._device.health
        if not self.port.is_open and not self.port.bus.leased:
            return min(beat, self.port.health.next_try)
        return min(beat, health.next_try) if health.misses and not self.port.bus.leased else beat

    async def _turn(self) -> None:
        leased, now = self.port.bus.leased, self._clock.monotonic()
        opened = leased or self.port.is_open or await self._open()
        health = self._device.health
        if health.misses and now >= health.next_try and not leased and opened:
            self._schedule.hurry(self._device.name, now)
        beat: Beat[str] | None = self._schedule.take(now)
        if beat is None:
            return
        self.port.skip(beat.skipped)
        if leased:
            self._device.give_absent(self._names, _MAINTENANCE, self._every)
        elif not opened:
            self._device.give_absent(self._names, _NOT_CONNECTED, self._every)
        elif health.resting(now):
            self._device.give_absent(self._names, self._device.reason, self._every)
        else:
            await self._read()

    async def _open(self) -> bool:
        self._set_up = False
        return await self.port.try_open()

    async def _read(self) -> None:
        device, driver, at = self._device, self._driver, self._clock.now()
        device.polls += 1
        try:
            async with self.port.bus.turn:
                if driver.setup is not None and not self._set_up:
                    await self._play(driver.setup(self._address))
                values = await self._play(driver.measure(self._address))
            self._set_up = True
        except LinkError as error:
            self._failed(error)
            return
        now = self._clock.monotonic()
        self.port.worked()
        if isinstance(values, Quality):
            self._misunderstood(values, now)
            return
        device.answered(now)
        device.ok += 1
        device.give(at, device.checker.check(self._names, values, now))

    async def _play(self, exchange: Exchange) -> Values | Quality:
        return await play(self._device.model, self.port.link, self._clock, exchange)

    def _misunderstood(self, reason: Quality, now: float) -> None:
        device = self._device
        device.corrupt += 1
        device.missed(corrupt(self.port.link.where, b"", ended=True), reason, now, there=True)
        self._tell(reason)

    def _failed(self, error: LinkError) -> None:
        now, device = self._clock.monotonic(), self._device
        self._set_up = False
        if error.code != "link.no-answer":
            self.port.lost(error)
            self._tell(_NOT_CONNECTED)
            return
        device.timeouts += 1
        device.missed(error, _NO_RESPONSE, now)
        self._tell(_NO_RESPONSE)

    def _tell(self, reason: Quality) -> None:
        self._device.give_absent(self._names, reason, self._every)
