"""Leases of a bus: who gets it, what runs on it, and every way in which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from fakes.modbus_units import FakeLink, FakeUnit
from fakes.serial_line import FakeSerialLine
from fakes.virtual_clock import VirtualClock, run
from lamppost.acquire.leases import HEARTBEAT, Lease, Leases
from lamppost.acquire.port import Opens, Port
from lamppost.errors import LinkError
from lamppost.links.serial import LineSettings

Line = tuple[FakeLink, Port[Opens], Leases]


def lent(clock: VirtualClock) -> Line:
    link = FakeLink({1: FakeUnit({0: 7}), 2: FakeUnit({}, dead=True)})
    port = Port(cast(Opens, link).where, "modbus-rtu", cast(Opens, link), clock)
    return link, port, Leases({"rs485-1": port}, clock)


async def code(doing: Coroutine[Any, Any, object]) -> str:
    with pytest.raises(LinkError) as refused:
        await doing
    assert refused.value.hint
    return refused.value.code


async def kept_alive(leases: Leases, lease: Lease, clock: VirtualClock, seconds: float) -> None:
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        leases.beat(lease.id)
        await clock.sleep_until(min(end, clock.monotonic() + HEARTBEAT / 2))
    leases.beat(lease.id)


def is_lent(port: Port[Opens]) -> bool:
    return port.bus.leased


def test_requests_run_and_the_bus_comes_back() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        lease = await leases.lend("rs485-1", 30, "bus scan (process 7)")
        assert (lease.link, lease.kind, lease.where) == ("rs485-1", "modbus-rtu", "fake")
        assert lease.until == clock.monotonic() + 30
        assert is_lent(port)
        assert port.bus.holder == "bus scan (process 7)"
        assert await leases.read(lease.id, 1, "input", 0, 1, 0.3) == [7]
        assert await code(leases.read(lease.id, 2, "input", 0, 1, 0.3)) == "link.no-answer"
        await leases.give_back(lease.id)
        await leases.give_back(lease.id)
        assert not is_lent(port)
        assert not port.bus.turn.locked()
        assert await code(leases.read(lease.id, 1, "input", 0, 1, 0.3)) == "link.lease-over"

    run(main)


def test_it_waits_for_the_request_under_way() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        await port.bus.turn.acquire()
        start = clock.monotonic()
        asyncio.get_running_loop().call_later(0.2, port.bus.turn.release)
        await leases.lend("rs485-1", 30)
        assert clock.monotonic() == pytest.approx(start + 0.2)

    run(main)


def test_one_at_a_time_and_the_holder_is_named() -> None:
    async def main(clock: VirtualClock) -> None:
        _, _, leases = lent(clock)
        first = await leases.lend("rs485-1", 30, "bus scan (process 7)")
        with pytest.raises(LinkError, match=r"bus scan \(process 7\)") as busy:
            await leases.lend("rs485-1", 30)
        assert busy.value.code == "link.busy"
        assert await code(leases.lend("rs485-2", 30)) == "link.unknown"
        await leases.give_back(first.id)
        await leases.lend("rs485-1", 30)

    run(main)


def test_it_ends_when_its_time_is_up_whatever_the_holder_says() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        lease = await leases.lend("rs485-1", 1000)
        assert lease.until == clock.monotonic() + 120
        await kept_alive(leases, lease, clock, 119)
        assert is_lent(port)
        with pytest.raises(LinkError) as over:
            await kept_alive(leases, lease, clock, 10)
        assert over.value.code == "link.lease-over"
        assert not is_lent(port)

    run(main)


def test_it_ends_when_its_holder_is_not_heard_of() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        lease = await leases.lend("rs485-1", 100)
        await kept_alive(leases, lease, clock, 20)
        await clock.sleep_until(clock.monotonic() + HEARTBEAT - 0.1)
        assert is_lent(port)
        await clock.sleep_until(clock.monotonic() + 0.2)
        assert not is_lent(port)

    run(main)


def test_a_request_under_way_at_the_end_is_told_so() -> None:
    async def main(clock: VirtualClock) -> None:
        link, port, leases = lent(clock)
        link.units[1].takes = 50.0
        lease = await leases.lend("rs485-1", 3)
        reading = leases.read(lease.id, 1, "input", 0, 1, 60)
        waiting = asyncio.create_task(code(leases.read(lease.id, 1, "input", 0, 1, 60)))
        assert await code(reading) == "link.lease-over"
        assert await waiting == "link.lease-over"
        assert not is_lent(port)
        assert not port.bus.turn.locked()

    run(main)


def test_a_holder_that_dies_in_a_request_holds_nobody_up() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        lease = await leases.lend("rs485-1", 100)
        asking = asyncio.create_task(leases.read(lease.id, 2, "input", 0, 1, 1.0))
        await clock.sleep_until(clock.monotonic() + 0.1)
        asking.cancel()
        await clock.sleep_until(clock.monotonic() + HEARTBEAT + 1.1)
        assert not is_lent(port)

    run(main)


def test_whoever_gives_up_waiting_gets_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        await port.bus.turn.acquire()
        asking = asyncio.create_task(leases.lend("rs485-1", 100))
        await clock.sleep_until(clock.monotonic() + 1)
        asking.cancel()
        await asyncio.wait([asking])
        assert not is_lent(port)
        port.bus.turn.release()

    run(main)


def test_a_link_that_is_not_open_is_opened_and_its_loss_told() -> None:
    async def main(clock: VirtualClock) -> None:
        link, _, leases = lent(clock)
        link.missing = True
        lease = await leases.lend("rs485-1", 30)
        assert await code(leases.read(lease.id, 1, "input", 0, 1, 0.3)) == "link.missing"
        link.missing = False
        assert await leases.read(lease.id, 1, "input", 0, 1, 0.3) == [7]

    run(main)


def test_what_a_link_cannot_do_is_said() -> None:
    async def main(clock: VirtualClock) -> None:
        _, _, leases = lent(clock)  # its link has neither `exchange` nor `tune`
        lease = await leases.lend("rs485-1", 30)
        assert await code(leases.exchange(lease.id, b"?", 1.0)) == "link.no-exchange"
        assert await code(leases.tune(lease.id, 9600)) == "link.no-exchange"
        line = FakeSerialLine()
        uart = Leases({"uart": Port("uart", "serial", cast(Opens, line), clock)}, clock)
        lease = await uart.lend("uart", 30)
        assert await code(uart.read(lease.id, 1, "input", 0, 1, 0.3)) == "link.no-exchange"

    run(main)


def test_the_stop_of_the_gateway_ends_all() -> None:
    async def main(clock: VirtualClock) -> None:
        _, port, leases = lent(clock)
        await leases.lend("rs485-1", 30)
        await leases.end()
        assert not is_lent(port)

    run(main)


class Tuned:
    """A port that does no parity: `now` is what it is set to, None for what the site says."""

    where = "fake"

    def __init__(self) -> None:
        self.now: LineSettings | None = None

    def tune(self, line: LineSettings | None) -> None:
        self.now = line

    async def open(self) -> None:
        if self.now is not None and self.now.parity != "N":
            raise LinkError("no parity", code="link.settings", hint="correct the site file")

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        return request

    def close(self) -> None: ...


def test_settings_that_the_port_cannot_do_leave_those_of_before() -> None:
    async def main(clock: VirtualClock) -> None:
        link = Tuned()
        port = Port("fake", "modbus-rtu", cast(Opens, link), clock)
        leases = Leases({"rs485-1": port}, clock)
        lease = await leases.lend("rs485-1", 30, "doctor (process 7)")
        assert await code(leases.tune(lease.id, 9600, "E")) == "link.settings"
        assert await leases.exchange(lease.id, b"still there", 0.1, 0) == b"still there"
        await leases.tune(lease.id, 4800)
        assert await code(leases.tune(lease.id, 9600, "O")) == "link.settings"
        assert link.now == LineSettings(4800)
        await leases.give_back(lease.id)
        assert link.now is None

    run(main)
