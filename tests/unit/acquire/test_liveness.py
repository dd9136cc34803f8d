"""A bus that nobody gives back is told from one that is busy, or lent."""

from __future__ import annotations

from fakes.virtual_clock import VirtualClock
from lamppost.acquire.liveness import STUCK_AFTER, Watched
from lamppost.links.bus import LONGEST_LEASE, Bus


async def test_a_request_that_never_ends() -> None:
    clock = VirtualClock()
    bus = Bus(object())
    watched = Watched(bus.turn, clock)
    await bus.turn.acquire()
    assert not watched.is_stuck()
    clock.advance(LONGEST_LEASE)  # a lease may take as long
    assert not watched.is_stuck()
    clock.advance(STUCK_AFTER - LONGEST_LEASE)
    assert watched.is_stuck()
    bus.turn.release()
    assert not watched.is_stuck()


async def test_a_bus_that_is_always_busy_is_not_stuck() -> None:
    clock = VirtualClock()
    bus = Bus(object())
    watched = Watched(bus.turn, clock)
    for _ in range(10):
        await bus.turn.acquire()
        assert not watched.is_stuck()
        clock.advance(STUCK_AFTER)
        bus.turn.release()


async def test_a_quiet_bus_is_not_stuck() -> None:
    clock = VirtualClock()
    watched = Watched(Bus(object()).turn, clock)
    for _ in range(3):
        assert not watched.is_stuck()
        clock.advance(STUCK_AFTER)
