"""A driver's exchange, played to its end with the device that it is about; what differs by bus is a `Peer`."""

from __future__ import annotations

from typing import Protocol

from lamppost.acquire.outcome import Finished, ask, step
from lamppost.acquire.serial_line import SerialLine
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import no_answer
from lamppost.model import Quality
from lamppost_drivers.contract import Exchange, Read, Values, Wait, Write

FIRST_BYTE = 1.0
"""Seconds a device may take before it begins to answer; a driver that knows it to be slower waits first."""
_ADAPTER = 0.04
_GAP_CHARACTERS = 33
"""Silence that ends an answer of unknown length: EN 13757-2 allows 33 bit times between bytes, USB adapters more."""
_BUSY_TRIES = 4
_BUSY_PAUSE = 0.005
"""A sensor on I2C that still works on a command does not acknowledge a read; it is asked again a few times."""


class Peer(Protocol):
    """One device at the other end of a bus."""

    async def send(self, data: bytes) -> None:
        """Write all of `data`. Raises LinkError."""
        ...

    async def receive(self, read: Read) -> bytes:
        """What it answers; empty only where `read.optional`. Raises LinkError, also `link.no-answer`."""
        ...


async def play(model: str, peer: Peer, clock: Clock, exchange: Exchange) -> Values | Quality:
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
                await peer.send(now.data)
            elif isinstance(now, Wait):
                await clock.sleep_until(clock.monotonic() + now.seconds)
            else:
                received = await peer.receive(now)
    finally:
        ask(model, exchange.close)


class SerialPeer:
    """A device on a serial line; `patience`: seconds until its first byte."""

    def __init__(self, link: SerialLine, patience: float = FIRST_BYTE) -> None:
        self.link = link
        self._patience = patience

    async def send(self, data: bytes) -> None:
        """See `Peer`."""
        await self.link.send(data)

    async def receive(self, read: Read) -> bytes:
        """Up to `count` bytes until the line falls silent, or `until` ends them."""
        link = self.link
        gap = max(_ADAPTER, _GAP_CHARACTERS * link.character)
        data = await link.receive(self._patience)
        while data and len(data) < read.count and not (read.until and read.until in data):
            more = await link.receive(gap)
            if not more:
                break
            data += more
        if not data and not read.optional:
            raise no_answer(link.where, self._patience)
        return data


class I2cBus(Protocol):
    """`links.i2c.I2cLink`, or a test's stand-in for it."""

    stray: int

    @property
    def where(self) -> str:
        """The device node, for people."""
        ...

    async def open(self) -> None:
        """Open it. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    async def write(self, address: int, data: bytes) -> None:
        """Write to an address. Raises LinkError `link.no-answer`, `.stuck`, `.lost`."""
        ...

    async def read(self, address: int, count: int) -> bytes:
        """Read so many bytes from an address. Raises LinkError as `write` does."""
        ...


class I2cPeer:
    """A device at an address of an I2C bus."""

    def __init__(self, link: I2cBus, address: int, clock: Clock) -> None:
        self._link = link
        self._address = address
        self._clock = clock

    async def send(self, data: bytes) -> None:
        """See `Peer`."""
        await self._link.write(self._address, data)

    async def receive(self, read: Read) -> bytes:
        """Exactly `count` bytes; a device that does not acknowledge is asked a few times."""
        for _ in range(_BUSY_TRIES - 1):
            try:
                return await self._link.read(self._address, read.count)
            except LinkError as error:
                if error.code != "link.no-answer":
                    raise
            await self._clock.sleep_until(self._clock.monotonic() + _BUSY_PAUSE)
        return await self._link.read(self._address, read.count)
