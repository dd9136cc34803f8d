"""Do the time servers that a site names answer, and right? One SNTP question each (RFC 5905 §14), and no clock is set.

Who sets the clock is the operating system: `drop_in` is what systemd-timesyncd reads.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PORT = 123
TIMEOUT = 3.0
BESIDE = 10.0
"""Seconds that a server may differ from a clock that is synchronised."""
_EPOCH = 2_208_988_800  # NTP counts from 1900, Unix from 1970
_ERA = 1 << 32
_QUESTION = bytes([0b00_100_011]) + bytes(47)  # version 4, client
_SERVER = 4
_UNSYNCHRONISED = 16  # strata from here on, and 0, are no time


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: UTC nanoseconds when it answered."""

    utc: int


def drop_in(servers: Sequence[str]) -> str:
    """A drop-in for systemd-timesyncd with these servers."""
    return f"# Written by lamppost from [time] servers.\n[Time]\nNTP={' '.join(servers)}\n"


def right(answer: Answer | None, now: int, floor: int, *, synced: bool) -> bool:
    """Whether an answer can be true: after the floor and, where our clock is synchronised, beside it."""
    if answer is None or answer.utc < floor:
        return False
    return not synced or abs(answer.utc - now) <= BESIDE * 1e9


async def ask(server: str, timeout: float = TIMEOUT) -> Answer | None:
    """Ask `host` or `host:port`; None where no sound answer comes."""
    host, _, port = server.partition(":")
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[bytes] = loop.create_future()
    try:
        async with asyncio.timeout(timeout):
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Listener(heard), remote_addr=(host, int(port or PORT))
            )
            try:
                transport.sendto(_QUESTION)
                return read(await heard)
            finally:
                transport.close()
    except (OSError, TimeoutError):
        return None


def read(packet: bytes) -> Answer | None:
    """A server's packet, or None for one that is none, or whose server has no time itself."""
    if len(packet) < 48 or packet[0] & 7 != _SERVER or packet[0] >> 6 == 3:
        return None
    if not 0 < packet[1] < _UNSYNCHRONISED:
        return None
    seconds, fraction = struct.unpack("!II", packet[40:48])
    if seconds == 0:
        return None
    era = _ERA if seconds < 1 << 31 else 0  # the first bit is clear again from 2036 on
    return Answer((seconds + era - _EPOCH) * 10**9 + (fraction * 10**9 >> 32))


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, heard: asyncio.Future[bytes]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        """The first answer counts."""
        if not self._heard.done():
            self._heard.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Such as: nobody listens there."""
        if not self._heard.done():
            self._heard.set_exception(exc)
