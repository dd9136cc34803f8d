"""A Modbus/TCP server asked as if it were a line: the same requests, the CRC taken off and put on again.

So one examination serves both; what only a wire can show (echo, breaks, speeds) cannot come up here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lamppost.clock import monotonic_ns
from lamppost.diagnosis.wire.frames import crc
from lamppost.diagnosis.wire.line import Heard
from lamppost.links.serial import LineSettings
from lamppost.links.tcp import TcpLink


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
