"""One coroutine a radio: devices that shout to everybody, and what it means when one is not heard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from lamppost.acquire.credential import Credential
from lamppost.acquire.device import Device
from lamppost.acquire.outcome import ask
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import corrupt, not_heard
from lamppost.model import Instant, Quality
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Advertisement, BroadcastDriver

_NO_RESPONSE = quality("no_response")
_NOT_CONNECTED = quality("not_connected")
_NOT_AVAILABLE = quality("not_available")
_MAINTENANCE = quality("maintenance")

_SLICE = 1.0
"""Seconds the bus is held for one wait, and so how long a lease may have to wait."""


class Radio(Protocol):
    """`links.ble.BleLink`, or a test's stand-in for it."""

    stray: int

    @property
    def where(self) -> str:
        """The adapter, for people."""
        ...

    async def open(self) -> None:
        """Open it. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    async def ended(self) -> None:
        """Wait until it is closed."""
        ...

    async def receive(self, seconds: float) -> list[Advertisement]:
        """What was heard since; empty after so many seconds. Raises LinkError."""
        ...


class Heard:
    """A device by its address. Of its advertisements one is delivered in each step of `every`."""

    def __init__(
        self,
        device: Device,
        driver: BroadcastDriver,
        address: str,
        key: Credential | None,
        every: float,
        patience: float,
    ) -> None:
        """`patience`: seconds without an advertisement after which it counts as silent."""
        self.device = device
        self.driver = driver
        self.address = address
        self.every = every
        self.patience = patience
        self.names = tuple(point.name for point in device.points)
        self.due = self.silent_from = 0.0
        self._key = key

    def begin(self, now: float) -> None:
        """The radio listens from now on."""
        self.silent_from = now + self.patience

    def is_due(self, now: float, slack: float = 0.0) -> bool:
        """Whether something is to be delivered; then the next time is a step of `every` later."""
        if now < self.due - slack:
            return False
        self.due += (math.floor((now + slack - self.due) / self.every) + 1) * self.every
        return True

    def key(self) -> bytes:
        """Its key; empty without one. Raises LinkError `link.no-key`."""
        return self._key.read() if self._key is not None else b""


class Broadcasts:
    """Listens for ever. Cancel `run` to stop it; the link is closed then."""

    def __init__(self, port: Port[Radio], heard: Sequence[Heard], clock: Clock) -> None:
        self.port = port
        self._heard = {each.address: each for each in heard}
        self._clock = clock
        now = clock.monotonic()
        for each in heard:
            each.due = now + each.every
            each.begin(now)

    def status(self) -> BusStatus:
        """The radio and its devices as they are now."""
        return self.port.status([each.device for each in self._heard.values()])

    async def run(self) -> None:
        """Listen. A radio that is lost and a device that is not heard never end it."""
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
            await self.port.link.ended()

    async def _open(self) -> None:
        if not await self.port.try_open():
            await self._wait(_NOT_CONNECTED, self.port.health.next_try)
            return
        for each in self._heard.values():
            each.begin(self._clock.monotonic())

    async def _wait(self, reason: Quality, until: float) -> None:
        """Say that there is nothing, whenever it is due, and wait."""
        now = self._clock.monotonic()
        for each in self._heard.values():
            if each.is_due(now):
                each.device.give_absent(each.names, reason, each.every)
        await self._clock.sleep_until(min(until, *(each.due for each in self._heard.values())))

    async def _turn(self) -> None:
        try:
            async with self.port.bus.turn:
                found = await self.port.link.receive(_SLICE)
        except LinkError as error:
            self.port.lost(error)
            return
        if found:
            self.port.worked()
        at, now = self._clock.now(), self._clock.monotonic()
        for advertisement in found:
            each = self._heard.get(advertisement.address)
            if (
                each is not None
                and ask(each.device.model, each.driver.matches, advertisement) is True
            ):
                self._take(each, advertisement, at, now)
        for each in self._heard.values():
            self._look(each, now)

    def _take(self, each: Heard, advertisement: Advertisement, at: Instant, now: float) -> None:
        device = each.device
        each.silent_from = now + each.patience
        device.polls += 1
        device.answered(now)
        if not each.is_due(now, each.every / 2):
            return
        try:
            key = each.key()
        except LinkError as error:
            device.refused += 1
            device.complained(error)
            device.give(at, device.missing(each.names, _NOT_AVAILABLE))
            return
        values = ask(device.model, each.driver.decode, advertisement, key)
        if isinstance(values, Quality):
            device.corrupt += 1
            device.complained(corrupt(each.address, _payload(advertisement), ended=True))
            device.give(at, device.missing(each.names, values))
        else:
            device.ok += 1
            device.give(at, device.checker.check(each.names, values, now))

    def _look(self, each: Heard, now: float) -> None:
        device = each.device
        if now >= each.silent_from:
            each.begin(now)
            device.timeouts += 1
            device.missed(not_heard(each.address, each.patience), _NO_RESPONSE, now)
        if device.health.misses and each.is_due(now):
            device.give_absent(each.names, device.reason, each.every)


def _payload(advertisement: Advertisement) -> bytes:
    payloads = (*advertisement.manufacturer.values(), *advertisement.service.values())
    return payloads[0] if payloads else b""
