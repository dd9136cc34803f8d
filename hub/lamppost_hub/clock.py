"""The hub's only caller of `time`: UTC for what is recorded, monotonic seconds for waiting."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the hub asks of time. The tests' clock implements the same."""

    def utc(self) -> int:
        """UTC in nanoseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds for deadlines, the event loop's own time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def utc(self) -> int:
        """UTC in nanoseconds since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)
