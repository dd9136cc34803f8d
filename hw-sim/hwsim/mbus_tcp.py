"""M-Bus meters behind a transparent level converter with a network port: bytes over TCP, as on the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from hwsim.device import Device
from hwsim.tcp_server import Connection, TcpServer

_SILENCE = 0.005
"""Seconds without a byte that end a frame of the master."""


class MBusTcpServer(TcpServer):
    """`with MBusTcpServer([MBusMeter([frame])]) as server: connect(server.host, server.port)`.

    Meters that answer at once destroy each other's answers, byte by byte. `pieces`: an answer comes in so many parts,
    a hundredth of a second apart, as a slow network hands it over.
    """

    def __init__(
        self, meters: Iterable[Device], host: str = "127.0.0.1", port: int = 0, pieces: int = 1
    ) -> None:
        super().__init__(host, port)
        self.meters = list(meters)
        self.pieces = pieces
        self.collisions = 0
        self.hung = False
        """The converter takes bytes and says nothing."""

    def connected(self) -> Connection:
        """What a new client talks to."""
        return _Master(self)

    def answers(self, frame: bytes) -> list[tuple[float, bytes]]:
        """What the bus brings after a frame, and when; one answer at most comes whole."""
        if self.hung:
            return []
        now = time.monotonic()
        found = [reply for meter in self.meters for reply in meter.hear(frame, now)]
        if len(found) < 2:
            return found
        self.collisions += 1
        longest = max(len(data) for _, data in found)
        mixed = bytearray(longest)
        for _, data in found:
            for at, byte in enumerate(data):
                mixed[at] ^= byte ^ 0xFF
        return [(found[0][0], bytes(mixed))]


class _Master(Connection):
    """One client, and what it is still sending."""

    def __init__(self, server: MBusTcpServer) -> None:
        super().__init__(server)
        self._bus = server
        self._frame = b""
        self._end: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._frame += data
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(_SILENCE, self._heard)

    def _heard(self) -> None:
        frame, self._frame = self._frame, b""
        loop = asyncio.get_running_loop()
        for delay, data in self._bus.answers(frame):
            size = -(-len(data) // self._bus.pieces)
            for part, at in enumerate(range(0, len(data), size)):
                loop.call_later(delay + part * 0.01, self.send, data[at : at + size])
