"""Waiting on the gateway's Clock: for a signal or a deadline, and longer after each failure."""

from __future__ import annotations

import asyncio
import random

from lamppost.clock import Clock


async def signal_or_deadline(
    clock: Clock, signal: asyncio.Event, deadline: float | None, *ends: asyncio.Task[None]
) -> None:
    """Return when `signal` is set, `deadline` (monotonic seconds) has passed, or one of `ends` is done."""
    if signal.is_set():
        return
    waits: list[asyncio.Task[object]] = [asyncio.create_task(signal.wait(), name="uplink signal")]
    if deadline is not None:
        waits.append(asyncio.create_task(clock.sleep_until(deadline), name="uplink deadline"))
    try:
        await asyncio.wait({*waits, *ends}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class Backoff:
    """Delays that double from `first` to `longest` seconds, each shortened by up to a half at random.

    Thousands of gateways lose the same broker at the same moment; the jitter keeps them from returning together.
    """

    def __init__(self, first: float, longest: float, chance: random.Random) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._next = first

    def delay(self) -> float:
        """Seconds to wait before the next try."""
        delay, self._next = self._next, min(2 * self._next, self._longest)
        return delay * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The way works again."""
        self._next = self._first
