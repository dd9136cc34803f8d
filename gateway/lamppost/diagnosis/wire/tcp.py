"""Links over a network, asked as if they were lines; what only a wire can show (echo, breaks, speeds) cannot come up.

A Modbus/TCP server gets the same requests, the CRC taken off and put on again. A converter of an M-Bus passes on bytes
as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lamppost.clock import monotonic_ns
from lamppost.diagnosis.wire.frames import crc
from lamppost.diagnosis.wire.line import Heard
from lamppost.links import faults
from lamppost.links.serial import LineSettings
from lamppost.links.tcp import TcpLink
from lamppost.links.tcp_line import TcpLine

_DOUBT = 3
"""Requests without a single byte after which we connect anew: a dead meter and a converter that hangs look alike."""


@dataclass(slots=True)
class TcpRaw:
    """A `line.RawLine` over a connection of its own."""

    host: str
    port: int
    _link: TcpLink | None = field(default=None, init=False)

    @property
    def where(self) -> str:
        """See `RawLine`."""
        return f"{self.host}:{self.port}"

    async def use(self, line: LineSettings) -> None:
        """Connect; a network has no speed to set. Raises LinkError `link.missing`."""
        del line
        if self._link is None:
            self._link = TcpLink(self.host, self.port)
        await self._link.open()

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        """See `RawLine`. A connection speaks only when asked: listening hears nothing."""
        del quiet, limit
        if not data or self._link is None:
            return Heard()
        await self._link.open()
        began = monotonic_ns()
        answer = await self._link.exchange(data[:-2], wait)
        took = (monotonic_ns() - began) / 1e9
        return Heard(((took, answer + crc(answer)),)) if answer else Heard()

    def counters(self) -> None:
        """Nobody counts here."""

    async def close(self) -> None:
        """See `RawLine`."""
        if self._link is not None:
            self._link.close()
            self._link = None


@dataclass(slots=True)
class ConverterRaw:
    """A `line.RawLine` over a connection of its own to a transparent converter."""

    host: str
    port: int
    timeout: float = 1.0
    _link: TcpLine | None = field(default=None, init=False)
    _silent: int = field(default=0, init=False)

    @property
    def where(self) -> str:
        """See `RawLine`."""
        return f"{self.host}:{self.port}"

    async def use(self, line: LineSettings) -> None:
        """Connect; the settings of the bus are the converter's own. Raises LinkError `link.missing`."""
        del line
        if self._link is None:
            self._link = TcpLine(self.host, self.port, self.timeout)
        await self._link.open()

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        """See `RawLine`. Raises LinkError `link.lost` where the converter hangs up."""
        link = self._link
        if link is None:
            raise faults.not_open(self.where)
        if self._silent >= _DOUBT:
            link.close()
            self._silent = 0
        await link.open()
        if data:
            await link.send(data)
        began = monotonic_ns()
        pieces: list[tuple[float, bytes]] = []
        size = 0
        piece = await link.receive(wait)
        while piece:
            pieces.append(((monotonic_ns() - began) / 1e9, piece))
            size += len(piece)
            piece = await link.receive(quiet) if size < limit else b""
        self._silent = 0 if pieces or not data else self._silent + 1
        return Heard(tuple(pieces))

    def counters(self) -> None:
        """Nobody counts here."""

    async def close(self) -> None:
        """See `RawLine`."""
        if self._link is not None:
            self._link.close()
            self._link = None
