"""In which pieces, and when, an adapter hands received bytes to its driver."""

from __future__ import annotations

import math
from collections.abc import Iterator

_FTDI_PACKET = 62
_FIFO_TIMEOUT_CHARACTERS = 4


class Delivery:
    """How the adapter at the driver's end hands over what it received.

    `"byte"`: each byte when its last bit has passed. `"fifoN"`: N at a time, the rest 4 characters after the last
    byte, as a 16550 does. `"ftdiN"`: what came in by each tick of an N ms timer, or 62 bytes as soon as they are
    there, as an FT232 does over USB (its default is 16 ms). `"dmaN"`: N at a time, the rest with its last bit, which
    costs the simulation least.
    """

    def __init__(self, granularity: str) -> None:
        kind = granularity.rstrip("0123456789")
        number = granularity[len(kind) :]
        if kind not in ("byte", "fifo", "ftdi", "dma") or (kind == "byte") != (number == ""):
            raise ValueError(f"granularity {granularity!r}: write byte, fifoN, ftdiN or dmaN")
        self._kind = kind
        self._number = int(number or 1)
        self._tick = 0.0

    def pieces(
        self, start: float, byte_time: float, count: int
    ) -> Iterator[tuple[float, int, int]]:
        """Moments and index ranges in which `count` bytes that begin at `start` reach the driver."""
        if self._kind == "ftdi":
            yield from self._by_timer(start, byte_time, count)
            return
        low = 0
        while low < count:
            high = min(low + self._number, count)
            whole = self._kind != "fifo" or high - low == self._number
            wait = 0 if whole else _FIFO_TIMEOUT_CHARACTERS
            yield start + (high + wait) * byte_time, low, high
            low = high

    def _by_timer(
        self, start: float, byte_time: float, count: int
    ) -> Iterator[tuple[float, int, int]]:
        period, low = self._number / 1000, 0
        while low < count:
            first = start + (low + 1) * byte_time
            tick = self._tick + max(1, math.ceil((first - self._tick) / period - 1e-9)) * period
            by_tick = int((tick - start) / byte_time + 1e-9)
            high = min(count, by_tick, low + _FTDI_PACKET)
            full = high - low == _FTDI_PACKET
            at = start + high * byte_time if full else tick
            self._tick = at
            yield at, low, high
            low = high
