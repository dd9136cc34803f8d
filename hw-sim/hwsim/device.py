"""What hangs on a line: a device hears frames that silence has ended, and may speak unasked."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypeAlias

Reply: TypeAlias = tuple[float, bytes]
"""Seconds between the moment the device may answer and the first bit of its answer; the bytes."""


class Device:
    """One device on a line. Only the line's thread calls these; times are seconds of `time.monotonic`."""

    def attached(self, now: float) -> None:
        """The device got power at `now`."""

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        """Answer a frame of the driver; `now` is when the silence that ends the frame was complete."""
        del frame, now
        return ()

    def next_talk(self) -> float | None:
        """When the device next speaks unasked, or None. After `talk` it must be later than before."""
        return None

    def talk(self, now: float, byte_time: float) -> bytes:
        """The bytes it speaks unasked; called once `next_talk()` has come."""
        del now, byte_time
        return b""


class Babbler(Device):
    """A broken unit that never stops sending: its driver chip is stuck on."""

    def __init__(self, seed: int = 0, pattern: bytes | None = None, chunk: int = 32) -> None:
        self._random = random.Random(seed)
        self._pattern = pattern
        self._chunk = chunk
        self._next = 0.0

    def attached(self, now: float) -> None:
        self._next = now

    def next_talk(self) -> float | None:
        return self._next

    def talk(self, now: float, byte_time: float) -> bytes:
        said = self._pattern or self._random.randbytes(self._chunk)
        self._next = max(self._next, now - 1.0) + len(said) * byte_time
        return said


class Noise(Device):
    """Random single bytes on an idle line, as without bias resistors: `rate` bytes a second on average."""

    def __init__(self, rate: float, seed: int = 0, breaks: bool = False) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._breaks = breaks
        self._next = 0.0

    def attached(self, now: float) -> None:
        self._next = now + self._random.expovariate(self._rate)

    def next_talk(self) -> float | None:
        return self._next

    def talk(self, now: float, byte_time: float) -> bytes:
        del byte_time
        self._next = max(self._next, now - 1.0) + self._random.expovariate(self._rate)
        return b"\0" if self._breaks else self._random.randbytes(1)
