"""The fake clock itself: other tests believe it."""

import asyncio

import pytest

from fakes.virtual_clock import Stalled, VirtualClock, run
from lamppost.clock import Clock


def test_time_jumps_and_timers_come_in_order() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        checked: Clock = clock
        start, seen = checked.monotonic(), []

        async def sleeper(name: str, period: float, times: int) -> None:
            for n in range(1, times + 1):
                await clock.sleep_until(start + n * period)
                seen.append((name, clock.monotonic() - start))

        await asyncio.gather(sleeper("hour", 3600.0, 2), sleeper("day", 86400.0, 1))
        return seen

    assert run(main) == [("hour", 3600.0), ("hour", 7200.0), ("day", 86400.0)]


def test_timeouts_follow_and_descriptors_work() -> None:
    async def main(clock: VirtualClock) -> float:
        start = clock.monotonic()
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.Event().wait()
        return clock.monotonic() - start

    assert run(main) == pytest.approx(100)


def test_steps_of_utc_leave_the_rest() -> None:
    async def main(clock: VirtualClock) -> None:
        before, instant = clock.utc(), clock.now()
        clock.step_utc(-3600)
        await clock.sleep_until(clock.monotonic() + 10)
        assert clock.utc() - before == -3590 * 10**9
        assert clock.now().ns - instant.ns == 10 * 10**9

    run(main)


def test_nothing_left_to_wait_for() -> None:
    async def main(clock: VirtualClock) -> None:
        del clock
        await asyncio.Event().wait()

    with pytest.raises(Stalled):
        run(main)


def test_by_hand() -> None:
    clock = VirtualClock()
    before = clock.now()
    clock.advance(1.5)
    assert clock.now().ns - before.ns == 1_500_000_000
