"""How an examination comes to a link: the port itself, or the daemon's port under a lease."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from lamppost.config.schema import (
    I2cLink,
    LinkSettings,
    MbusLink,
    MbusTcpLink,
    ModbusRtuLink,
    ModbusTcpLink,
    SerialLink,
)
from lamppost.diagnosis.wire.i2c import I2c, touched
from lamppost.diagnosis.wire.line import DirectLine, RawLine
from lamppost.diagnosis.wire.tcp import ConverterRaw, TcpRaw
from lamppost.links.faults import no_exchange
from lamppost.links.i2c import I2cLink as I2cPort


class Access(Protocol):
    """Both ways. Raises LinkError, `link.busy` with the holder's name."""

    via: str

    def raw(self, link: LinkSettings) -> AbstractAsyncContextManager[RawLine]:
        """A serial line, or what stands for one over a network, to ask raw."""
        ...

    def i2c(self, link: I2cLink) -> AbstractAsyncContextManager[I2c]:
        """An I2C bus."""
        ...


class Direct:
    """No daemon holds the ports."""

    via = "direct"

    @asynccontextmanager
    async def raw(self, link: LinkSettings) -> AsyncIterator[RawLine]:
        """See `Access`."""
        line = _line(link)
        try:
            yield line
        finally:
            await line.close()

    @asynccontextmanager
    async def i2c(self, link: I2cLink) -> AsyncIterator[I2c]:
        """See `Access`."""
        port = I2cPort(link.port)
        await port.open()
        try:
            yield _DirectI2c(port)
        finally:
            port.close()


def _line(link: LinkSettings) -> RawLine:
    if isinstance(link, ModbusTcpLink):
        return TcpRaw(link.host, link.port)
    if isinstance(link, MbusTcpLink):
        return ConverterRaw(link.host, link.port, link.timeout)
    if isinstance(link, SerialLink | ModbusRtuLink | MbusLink):
        return DirectLine(link.port)
    raise no_exchange(link.name, link.kind, "requests")


@dataclass(frozen=True, slots=True)
class _DirectI2c:
    port: I2cPort

    async def touch(self, address: int) -> str:
        """See `wire.i2c.I2c`."""
        return await touched(self.port.exchange, address)
