"""A device that talks unasked, over a serial line in memory."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from fakes.serial_line import FakeSerialLine
from fakes.virtual_clock import VirtualClock, run
from lamppost.acquire.device import Device
from lamppost.acquire.health import State
from lamppost.acquire.listener import Listener
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.serial_line import SerialLine
from lamppost.config.schema import DeviceSettings
from lamppost.model import Sample
from lamppost_drivers.air import plantower
from lamppost_drivers.contract import StreamDriver

PMS5003 = next(d for d in plantower.DRIVERS if d.model == "pms5003")
FRAME = PMS5003.vectors[0].frame
PM25 = PMS5003.vectors[0].expect


class Bench:
    def __init__(
        self, clock: VirtualClock, every: float = 1.0, driver: StreamDriver = PMS5003
    ) -> None:
        self.clock = clock
        self.line = FakeSerialLine()
        self.samples: list[Sample] = []
        settings = DeviceSettings.model_construct(
            name="air", model="pms5003", link="uart", every=every, points=("pm25",)
        )
        line: SerialLine = self.line
        self.port = Port("uart", "serial", line, clock)
        device = Device(settings, driver, clock, self.samples.append)
        self.listener = Listener(self.port, device, driver, every, clock)
        self.saying = True
        self.frame = FRAME

    async def _sensor(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self.saying:
                self.line.say(self.frame[:20])
                await asyncio.sleep(0.02)
                self.line.say(self.frame[20:])

    async def listen(
        self, seconds: float, *events: tuple[float, Callable[[], object]]
    ) -> BusStatus:
        start = self.clock.monotonic()
        tasks = [asyncio.create_task(self.listener.run()), asyncio.create_task(self._sensor())]
        for at, event in events:
            await self.clock.sleep_until(start + at)
            event()
        await self.clock.sleep_until(start + seconds)
        status = self.listener.status()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return status

    def reasons(self, since: float = 0.0, until: float = 1e9) -> Counter[str]:
        found: Counter[str] = Counter()
        for sample in self.samples:
            if since <= sample.at.ns / 1e9 - 1000.0 < until:
                found.update(r.quality.reason for r in sample.readings)
        return found


def test_every_frame_when_it_talks_as_often_as_wanted() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.listen(60.5)
        assert bench.reasons() == {"good": 59}  # it says one in 1.02 s
        assert PM25 is not None
        assert {s.readings[0].value for s in bench.samples} == {PM25["pm25"]}
        assert status.devices[0].state is State.OK
        assert status.stray == 0

    run(main)


def test_one_frame_in_ten_seconds_is_enough() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, every=10.0)
        await bench.listen(605.0)
        assert bench.reasons()["good"] in (60, 61)
        gaps = [b.at.ns - a.at.ns for a, b in zip(bench.samples, bench.samples[1:], strict=False)]
        assert max(gaps[1:]) < 11.1e9

    run(main)


def test_silence_is_told_and_the_return_noticed() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.listen(
            200.0,
            (60.0, lambda: setattr(bench, "saying", False)),
            (160.0, lambda: setattr(bench, "saying", True)),
        )
        assert set(bench.reasons(0, 60)) == {"good"}
        assert set(bench.reasons(68, 160)) == {"no_response"}
        assert 9 <= bench.reasons(68, 160)["no_response"] <= 40
        assert set(bench.reasons(162)) == {"good"}
        assert status.devices[0].counts.timeouts > 10

    run(main)


def test_nonsense_is_corrupt_and_not_silence() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        bench.frame = FRAME[:-1] + b"\x00"
        status = await bench.listen(60.0)
        assert set(bench.reasons()) == {"corrupt"}
        assert status.devices[0].fault.code == "link.corrupt"

    run(main)


def test_unplugged_and_back() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        status = await bench.listen(
            120.0,
            (30.5, bench.line.unplug),
            (60.5, lambda: setattr(bench.line, "missing", False)),
        )
        assert set(bench.reasons(0, 30)) == {"good"}
        assert set(bench.reasons(31.1, 60)) == {"not_connected"}
        assert bench.reasons(31.1, 60)["not_connected"] >= 25
        assert set(bench.reasons(67)) == {"good"}
        assert status.opened == 2

    run(main)


def test_it_is_told_to_talk_again_after_each_silence() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, driver=replace(PMS5003, wake=b"wake"))
        bench.saying = False
        await bench.listen(30.0)
        assert bench.line.sent[0] == b"wake"
        assert len(bench.line.sent) >= 4

    run(main)


def test_a_lease_marks_and_ends() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        listening = asyncio.create_task(bench.listen(60.0))
        await clock.sleep_until(1000.0 + 20.0)
        async with bench.port.bus.lease(30):
            await clock.sleep_until(1000.0 + 40.0)
        await listening
        assert set(bench.reasons(22, 40)) == {"maintenance"}
        assert set(bench.reasons(46)) == {"good"}

    run(main)
