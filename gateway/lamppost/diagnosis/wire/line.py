"""A serial line to ask raw: bytes out, bytes in with their times. Direct, where no daemon holds the port."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import faults, holder
from lamppost.links.counters import Counters
from lamppost.links.serial import LineSettings, SerialPort

_NS = 1_000_000_000
_LONGEST = _NS
"""However much a line has to say: an exchange ends so long after the time for its first byte."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came after a request, in pieces with seconds since its last bit left; `stray`: what lay there before."""

    pieces: tuple[tuple[float, bytes], ...] = ()
    stray: bytes = b""

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def first(self) -> float:
        """Seconds until the first piece; 0 without one."""
        return self.pieces[0][0] if self.pieces else 0.0


class RawLine(Protocol):
    """One party on a serial line. Raises LinkError as links do."""

    @property
    def where(self) -> str:
        """The port, for people."""
        ...

    async def use(self, line: LineSettings) -> None:
        """From now on with these settings. Raises LinkError `link.settings` where the port cannot do them."""
        ...

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        """Send after the line's silence, and take what comes; nothing: only listen, and take what lay there too.

        Ends without a byte in `wait` seconds, after `quiet` seconds of silence, or with `limit` bytes.
        """
        ...

    def counters(self) -> Counters | None:
        """What the kernel counted on this port so far; None where nobody counts."""
        ...

    async def close(self) -> None:
        """Give the line back."""
        ...


async def takes(raw: RawLine, line: LineSettings) -> bool:
    """Go on with settings that are only tried; False where the port cannot do them, which says nothing of the site's.

    Raises LinkError for everything else.
    """
    try:
        await raw.use(line)
    except LinkError as error:
        if error.code != "link.settings":
            raise
        return False
    return True


def text_of(line: LineSettings) -> str:
    """As people write it: 9600 8N1."""
    return f"{line.baud} {line.data_bits}{line.parity}{line.stop_bits}"


@dataclass(slots=True)
class DirectLine:
    """The port itself."""

    path: Path
    locks: Path = holder.LOCKS
    _port: SerialPort | None = field(default=None, init=False)
    _free: int = field(default=0, init=False)

    @property
    def where(self) -> str:
        """See `RawLine`."""
        return str(self.path)

    async def use(self, line: LineSettings) -> None:
        """See `RawLine`. Raises LinkError `link.missing`, `.busy`, `.permission`, `.settings`."""
        if self._port is not None and self._port.line == line:
            return
        await self.close()
        self._port = SerialPort.open(self.path, line, locks=self.locks)
        self._free = monotonic_ns() + self._silence(line)

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        """See `RawLine`."""
        port = self._port
        if port is None:
            raise faults.not_open(self.where)
        await port.until(self._free)
        stray = port.drain()
        began = await port.send(data) if data else monotonic_ns()
        # A byte of ours is at the other end only when it has left; a tenth of a millisecond early would be no harm.
        gap = max(round(quiet * _NS), self._silence(port.line))
        deadline, end = began + round(wait * _NS), began + round(wait * _NS) + _LONGEST
        pieces: list[tuple[float, bytes]] = []
        if stray and not data:  # who only listens misses nothing between two times of listening
            pieces, stray = [(0.0, stray)], b""
        size = sum(len(piece) for _, piece in pieces)
        while size < limit and (piece := await port.receive(min(deadline, end))):
            now = monotonic_ns()
            pieces.append((max(0.0, (now - began) / _NS), piece))
            size += len(piece)
            deadline = max(now, began) + gap
        self._free = max(monotonic_ns(), began) + self._silence(port.line)
        return Heard(tuple(pieces), stray)

    def counters(self) -> Counters | None:
        """See `RawLine`."""
        return self._port.counters() if self._port is not None else None

    async def close(self) -> None:
        """See `RawLine`."""
        if self._port is not None:
            self._port.close()
            self._port = None

    @staticmethod
    def _silence(line: LineSettings) -> int:
        """t3.5, and 1.75 ms above 19200 baud (Modbus over serial line 1.02, clause 2.5.1.1)."""
        return 1_750_000 if line.baud > 19200 else (line.character * 7 + 1) // 2
