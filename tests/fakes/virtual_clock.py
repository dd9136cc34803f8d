"""Time that jumps to the next deadline: schedules of hours run in milliseconds, and always the same way.

How to use it, in an ordinary (not async) test:

    from fakes.virtual_clock import VirtualClock, run

    def test_polls_for_an_hour() -> None:
        async def main(clock: VirtualClock) -> int:
            poller = Poller(clock=clock, ...)
            async with asyncio.timeout(3600):
                await poller.run()

        run(main)

`run` makes an event loop whose `time()` is virtual: whenever no callback is ready and no file descriptor is readable,
the time jumps to the earliest timer. `asyncio.sleep`, `asyncio.timeout`, `loop.call_later` and `clock.sleep_until`
all follow. Sockets and pipes within the process work; threads and other processes do not fit (time would run past
them). When nothing at all is left to wait for, `run` raises Stalled instead of hanging.

`clock.step_utc(seconds)` steps UTC as a bad NTP server would, `clock.sync()` and `clock.lose_sync()` change
`synced()`, `clock.reboot()` gives `now()` another boot id, `clock.suspend(seconds)` lets UTC and the boot clock run on
while the machine sleeps; none of them moves the monotonic time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from lamppost.model import Instant

Result = TypeVar("Result")

START_UTC = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
START_MONOTONIC = 1000.0


class Stalled(RuntimeError):
    """Every task waits for something that can never come."""


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that never blocks: where it would, the loop's time moves on."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise Stalled("no timer, no callback, no readable descriptor is left")
        self.jumped += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds, from START_MONOTONIC."""
        return START_MONOTONIC + self._jumping.jumped


class VirtualClock:
    """`lamppost.clock.Clock` on a virtual loop; it can also be moved by hand with `advance` outside of one."""

    def __init__(self, loop: VirtualLoop | None = None) -> None:
        self._loop = loop
        self._moved = 0.0
        self._step = 0
        self._synced = True
        self._boots = 1
        self._slept = 0
        self._booted = 0

    def utc(self) -> int:
        """UTC in nanoseconds: virtual time since the start, and the steps."""
        return START_UTC + self._since_start() + self._step

    def now(self) -> Instant:
        """The boot's id and virtual nanoseconds of it."""
        ns = round(START_MONOTONIC * 1e9) + self._since_start() - self._booted
        return Instant(f"boot-{self._boots}", ns)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return (self._loop.time() if self._loop else START_MONOTONIC) + self._moved

    def synced(self) -> bool:
        """As `sync` and `lose_sync` left it; True at the start."""
        return self._synced

    async def sleep_until(self, deadline: float) -> None:
        """Sleep on the virtual loop."""
        await asyncio.sleep(max(0.0, deadline - self.monotonic()))

    def step_utc(self, seconds: float) -> None:
        """UTC jumps; nothing else does."""
        self._step += round(seconds * 1e9)

    def sync(self) -> None:
        """Something disciplines UTC from now on."""
        self._synced = True

    def lose_sync(self) -> None:
        """Nothing disciplines UTC any more."""
        self._synced = False

    def reboot(self, *, afresh: bool = False) -> None:
        """`now()` belongs to the next boot; with `afresh` its boot clock begins anew as well."""
        self._boots += 1
        if afresh:
            self._booted = round(START_MONOTONIC * 1e9) + self._since_start()

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: CLOCK_BOOTTIME and UTC count on, the monotonic clock does not."""
        self._slept += round(seconds * 1e9)

    def advance(self, seconds: float) -> None:
        """Move by hand, for code that has no event loop. Not within `run`."""
        if self._loop is not None:
            raise RuntimeError("on a virtual loop, time moves when you sleep")
        self._moved += seconds

    def _since_start(self) -> int:
        return round((self.monotonic() - START_MONOTONIC) * 1e9) + self._slept


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, Result]]) -> Result:
    """Run `main(clock)` to its end in virtual time. Raises Stalled where it waits for what never comes."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(VirtualClock(loop)))
