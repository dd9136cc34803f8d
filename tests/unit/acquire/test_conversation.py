"""Devices that must be asked in their own words, over a serial line in memory."""

import asyncio
from collections import Counter
from collections.abc import Callable

from fakes.serial_line import FakeSerialLine
from fakes.virtual_clock import VirtualClock, run
from lamppost.acquire.conversation import SerialPeer
from lamppost.acquire.device import Device
from lamppost.acquire.exchanges import Asked, Exchanges
from lamppost.acquire.health import State
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.serial_line import SerialLine
from lamppost.config.schema import DeviceSettings
from lamppost.model import Sample
from lamppost_drivers.contract import (
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Wait,
    Write,
)


def setup(address: int) -> Exchange:
    yield Write(b"start%d" % address)
    yield Read(2)
    return {}


def measure(address: int) -> Exchange:
    yield Write(b"co2?")
    yield Wait(0.5)
    answer = yield Read(20, until=b"\n")
    if answer == b"boom\n":
        raise RuntimeError("a bug")
    if not answer.startswith(b"co2="):
        raise FrameError("not an answer")
    return {"co2": float(answer[4:])}


DRIVER = ExchangeDriver(
    "asked", "serial", (Point("co2", "ppm", 350, 10000),), measure, Documentation(("X",), "test"), (), address=7,
    setup=setup,
)  # fmt: skip


class Bench:
    def __init__(self, clock: VirtualClock, every: float = 10.0) -> None:
        self.clock = clock
        self.answer = b"co2=612.5\n"
        self.dead = False
        self.line = FakeSerialLine(self._answers)
        self.samples: list[Sample] = []
        settings = DeviceSettings.model_construct(
            name="air", model="asked", link="uart", every=every
        )
        line: SerialLine = self.line
        self.port = Port("uart", "serial", line, clock)
        device = Device(settings, DRIVER, clock, self.samples.append)
        asked = Asked(device, DRIVER, DRIVER.address, every, SerialPeer(line))
        self.conversation = Exchanges(self.port, [asked], clock, [0.0])

    def _answers(self, sent: bytes) -> bytes:
        if self.dead:
            return b""
        return b"OK" if sent.startswith(b"start") else self.answer

    async def talk(self, seconds: float, *events: tuple[float, Callable[[], object]]) -> BusStatus:
        start = self.clock.monotonic()
        task = asyncio.create_task(self.conversation.run())
        for at, event in events:
            await self.clock.sleep_until(start + at)
            event()
        await self.clock.sleep_until(start + seconds)
        status = self.conversation.status()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return status

    def reasons(self, since: float = 0.0, until: float = 1e9) -> Counter[str]:
        found: Counter[str] = Counter()
        for sample in self.samples:
            if since <= sample.at.ns / 1e9 - 1000.0 < until:
                found.update(r.quality.reason for r in sample.readings)
        return found


def test_set_up_once_and_asked_on_the_grid() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.talk(605.0)
        assert bench.line.sent.count(b"start7") == 1
        assert bench.reasons() == {"good": 61}
        assert {s.readings[0].value for s in bench.samples} == {612.5}
        assert [round(s.at.ns / 1e9 - 1000.0, 3) for s in bench.samples][:3] == [0, 10, 20]
        assert status.devices[0].counts.ok == 61

    run(main)


def test_silence_rests_and_a_device_back_is_set_up_again() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.talk(
            300.0,
            (55.0, lambda: setattr(bench, "dead", True)),
            (200.0, lambda: setattr(bench, "dead", False)),
        )
        assert set(bench.reasons(60, 199)) == {"no_response"}
        assert set(bench.reasons(230)) == {"good"}
        assert status.devices[0].state is State.OK
        assert bench.line.sent.count(b"start7") >= 2

    run(main)


def test_wrong_answers_and_bugs_are_data() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.talk(
            100.0,
            (25.0, lambda: setattr(bench, "answer", b"what?\n")),
            (55.0, lambda: setattr(bench, "answer", b"boom\n")),
        )
        assert set(bench.reasons(0, 25)) == {"good"}
        assert set(bench.reasons(30, 55)) == {"corrupt"}
        assert "driver_error" in bench.reasons(60)
        assert status.devices[0].counts.corrupt > 2

    run(main)


def test_unplugged_and_back() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        await bench.talk(
            100.0, (25.0, bench.line.unplug), (55.0, lambda: setattr(bench.line, "missing", False))
        )
        assert bench.reasons(0, 25) == {"good": 3}
        assert bench.reasons(25, 55) == {"not_connected": 3}
        assert set(bench.reasons(60)) == {"good"}

    run(main)
