"""The Modbus poller against units in memory, hours in virtual time."""

import asyncio
import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import pytest

from fakes.modbus_units import FakeLink, FakeUnit
from fakes.virtual_clock import VirtualClock, run
from lamppost.acquire.device import Device
from lamppost.acquire.groups import MapDevice
from lamppost.acquire.health import State
from lamppost.acquire.poller import ModbusPoller
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import phases
from lamppost.config.schema import DeviceSettings, PointCheck
from lamppost.links.modbus_link import ModbusLink
from lamppost.model import Sample
from lamppost_drivers.contract import (
    Discovery,
    Documentation,
    FrameError,
    Point,
    ReadRegisters,
    Register,
    RegisterMap,
)


def float_words(value: float) -> tuple[int, int]:
    high, low = struct.unpack(">2H", struct.pack(">f", value))
    return high, low


def register(name: str, address: int, poll: str = "fast", kind: str = "float32") -> Register:
    words = 2 if kind == "float32" else 1
    return Register(Point(name, "V", 0, 300), address, kind, "input", "big", words, poll=poll)


METER = RegisterMap(
    "meter",
    (
        register("voltage", 0),
        register("current", 6),
        register("odd", 12),
        register("energy", 100, "slow"),
    ),
    Documentation(("Meter",), "test"),
    (),
)
CELLS = {
    at + i: word
    for at, value in ((0, 230.5), (6, 4.25), (12, 1.0), (100, 77.0))
    for i, word in enumerate(float_words(value))
}


class Bench:
    """A poller over fake units, and what it delivered."""

    def __init__(
        self,
        clock: VirtualClock,
        link: FakeLink,
        every: float = 1.0,
        slow: float = 10.0,
        points: tuple[str, ...] = (),
        driver: RegisterMap | None = None,
        check: Mapping[str, PointCheck] | None = None,
    ) -> None:
        driver = driver or METER
        self.clock = clock
        self.link = link
        self.samples: list[Sample] = []
        found = []
        for unit in link.units:
            settings = DeviceSettings.model_construct(
                name=f"m{unit}",
                model="meter",
                link="bus",
                unit=unit,
                every=every,
                points=points,
                check=dict(check or {}),
            )
            device = Device(settings, driver, clock, self.samples.append)
            found.append(MapDevice(device, driver, every, {"slow": slow}))
        opened: ModbusLink = link
        self.port = Port("bus", "modbus-rtu", opened, clock)
        first = phases([group.period for device in found for group in device.groups])
        self.poller = ModbusPoller(self.port, found, clock, first)

    async def poll(self, seconds: float, *events: tuple[float, Callable[[], object]]) -> BusStatus:
        """Run for so long; call each event at its time."""
        start = self.clock.monotonic()
        task = asyncio.create_task(self.poller.run())
        for at, event in events:
            await self.clock.sleep_until(start + at)
            event()
        await self.clock.sleep_until(start + seconds)
        status = self.poller.status()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return status

    def reasons(self, device: str, since: float = 0.0, until: float = math.inf) -> Counter[str]:
        """Qualities of all voltage readings of a device, by time since the start in seconds."""
        found: Counter[str] = Counter()
        for sample in self.samples:
            at = sample.at.ns / 1e9 - 1000.0
            if sample.device == device and since <= at < until:
                found.update(r.quality.reason for r in sample.readings if r.point == "voltage")
        return found


def link(*dead: int, units: int = 3) -> FakeLink:
    return FakeLink({u: FakeUnit(dict(CELLS), dead=u in dead) for u in range(1, units + 1)})


def test_an_hour_on_the_grid_with_right_values() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link())
        status = await bench.poll(3600.5)
        assert status.state is State.OK
        assert status.skipped == 0
        for device in status.devices:
            assert device.counts.ok == device.counts.polls
            assert device.counts.polls in (3600 + 360, 3601 + 360, 3601 + 361)
            values = {r.point: r.value for r in device.readings}
            assert values == {"voltage": 230.5, "current": 4.25, "odd": 1.0, "energy": 77.0}
        fast = [s.at.ns for s in bench.samples if s.device == "m2" and len(s.readings) == 3]
        offsets = {(at - fast[0]) / 1e9 % 1.0 for at in fast}
        assert max(offsets) <= 0.11  # never later than the one reading before it takes

    run(main)


def test_points_of_one_period_share_requests() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), every=1.0, slow=1.0)
        await bench.poll(0.5)
        assert [(a, n) for _, _, a, n in bench.link.asked] == [(0, 14), (100, 2)]
        assert len(bench.samples) == 1
        assert [r.point for r in bench.samples[0].readings] == [
            "voltage", "current", "odd", "energy",
        ]  # fmt: skip

    run(main)


def test_only_wanted_points_are_read() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), points=("current",))
        await bench.poll(0.5)
        assert [(a, n) for _, _, a, n in bench.link.asked] == [(6, 2)]
        assert [r.point for r in bench.samples[0].readings] == ["current"]

    run(main)


def test_a_dead_unit_costs_the_others_at_most_three_percent() -> None:
    """Six units that keep the bus busy nearly all the time; then one of them dies."""

    async def polls(clock: VirtualClock, *dead: int) -> tuple[int, int]:
        bench = Bench(clock, link(*dead, units=6), every=0.1, slow=1000.0)
        await bench.poll(60.0)
        bench.link.asked.clear()
        await bench.poll(600.0)
        probes = sum(unit in dead for _, unit, _, _ in bench.link.asked)
        return len(bench.link.asked) - probes, probes

    async def main(clock: VirtualClock) -> None:
        whole, _ = await polls(clock)
        without, probes = await polls(clock, 3)
        assert probes > 10
        # With one unit fewer, the bus has time for the same number of requests of the others.
        assert without >= 0.97 * whole

    run(main)


@pytest.mark.parametrize("dead", [1, 2, 3, 5, 8])
def test_several_dead_units_are_each_noticed_back_and_cost_little(dead: int) -> None:
    """Ten units on a bus with more asked than it carries; the last ones die, and come back at different times."""

    async def share(clock: VirtualClock) -> float:
        """Requests of the living beside the dead, against the same ones alone."""
        alone = Bench(clock, link(units=10 - dead), every=0.1, slow=1000.0)
        await alone.poll(300.0)
        beside = Bench(clock, link(units=10), every=0.1, slow=1000.0)
        units = [beside.link.units[10 - n] for n in range(dead)]
        await beside.poll(60.0, *((20.0, partial(setattr, unit, "dead", True)) for unit in units))
        beside.link.asked.clear()
        await beside.poll(300.0)
        living = sum(unit <= 10 - dead for _, unit, _, _ in beside.link.asked)
        return living / len(alone.link.asked)

    async def noticed(clock: VirtualClock) -> list[float]:
        """Seconds from each repair to the first good reading."""
        bench = Bench(clock, link(units=10), every=0.1, slow=1000.0)
        start = clock.monotonic()
        polling = asyncio.create_task(bench.poll(1000.0))
        names = [f"m{10 - n}" for n in range(dead)]
        await clock.sleep_until(start + 20)
        for name in names:
            bench.link.units[int(name[1:])].dead = True
        found = []
        for turn, name in enumerate(names):
            repaired = start + 120 + 37.7 * turn
            await clock.sleep_until(repaired)
            bench.samples.clear()
            bench.link.units[int(name[1:])].dead = False
            while not bench.reasons(name)["good"]:
                await asyncio.sleep(0.25)
            found.append(clock.monotonic() - repaired)
        polling.cancel()
        await asyncio.wait([polling])
        return found

    assert run(share) >= (0.97 if dead <= 5 else 0.94)
    assert max(run(noticed)) <= 30


def test_a_unit_that_came_back_slower_than_it_was_is_noticed() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=10), every=0.1, slow=1000.0)
        slow = bench.link.units[10]
        slow.takes = 0.01
        for n in (6, 7, 8, 9):
            bench.link.units[n].dead = True
        events = (
            (20.0, lambda: setattr(slow, "dead", True)),
            (120.0, lambda: setattr(slow, "dead", False)),
            (120.0, lambda: setattr(slow, "takes", 0.28)),
        )
        await bench.poll(320.0, *events)
        assert bench.reasons("m10", 120, 310)["good"] > 0

    run(main)


def test_a_dead_unit_is_told_and_noticed_back_within_half_a_minute() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(3))
        unit = bench.link.units[3]
        status = await bench.poll(400.0, (300.0, lambda: setattr(unit, "dead", False)))
        dead = bench.reasons("m3", 0, 300)
        assert set(dead) == {"no_response"}
        assert 30 <= dead["no_response"] <= 40  # each 10 s, and the first ones each second
        assert bench.reasons("m3", 300, 330)["good"] > 0
        back = bench.reasons("m3", 330, 400)
        assert set(back) == {"good"}
        assert back["good"] == 70
        assert status.devices[2].state is State.OK
        assert status.devices[2].fault.code == ""
        for name in ("m1", "m2"):
            assert set(bench.reasons(name)) == {"good"}

    run(main)


def test_a_slowly_read_unit_is_retried_before_its_next_beat() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(1, units=1), every=600.0, slow=600.0)
        await bench.poll(100.0, (60.0, lambda: setattr(bench.link.units[1], "dead", False)))
        assert bench.reasons("m1", 0, 60) == {"no_response": 1}
        assert bench.reasons("m1", 60, 90) == {"good": 1}

    run(main)


def test_one_lost_answer_rests_the_unit_for_as_long_as_it_may_come_late() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), every=0.5, slow=1000.0)
        unit = bench.link.units[1]
        await bench.poll(
            12.0,
            (4.9, lambda: setattr(unit, "dead", True)),
            (5.4, lambda: setattr(unit, "dead", False)),
        )
        times = [at - 1000.0 for at, *_ in bench.link.asked]
        missed = next(t for t in times if t >= 4.9)
        after = next(t for t in times if t > missed)
        assert after - missed >= bench.link.timeout + bench.link.late - 1e-6
        assert bench.reasons("m1")["no_response"] <= 4
        assert set(bench.reasons("m1", 7.0)) == {"good"}

    run(main)


def test_a_refused_hole_is_cut_out_and_remembered() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        bench.link.units[1].refuse = frozenset({3})
        await bench.poll(0.9)
        asked = [(a, n) for _, _, a, n in bench.link.asked if a < 100]
        assert asked == [(0, 14), (0, 2), (6, 8)]
        bench.link.asked.clear()
        status = await bench.poll(30.0)
        assert 3 not in {at for _, _, a, n in bench.link.asked for at in range(a, a + n)}
        assert bench.reasons("m1", 1.0) == {"good": 30}
        assert status.devices[0].state is State.OK

    run(main)


def test_a_register_the_device_does_not_know_is_not_available_and_the_rest_is_read() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        bench.link.units[1].refuse = frozenset({12})
        status = await bench.poll(60.0)
        reasons = {r.point: r.quality.reason for r in status.devices[0].readings}
        assert reasons == {
            "voltage": "good", "current": "good", "odd": "not_available", "energy": "good",
        }  # fmt: skip
        assert status.devices[0].counts.refused <= 4
        bench.link.units[1].refuse = frozenset()  # new firmware
        status = await bench.poll(3700.0)
        assert {r.quality.reason for r in status.devices[0].readings} == {"good"}

    run(main)


def test_a_device_that_takes_fewer_words_than_its_map_says() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        bench.link.units[1].max_words = 2
        await bench.poll(10.0)
        assert set(bench.reasons("m1", 2.0)) == {"good"}

    run(main)


@pytest.mark.parametrize(
    ("number", "reason", "state"),
    [
        (1, "not_available", State.OK),
        (4, "device_fault", State.OK),
        (6, "not_available", State.OK),
        (11, "no_response", State.DEAD),
    ],
)
def test_what_exceptions_mean(number: int, reason: str, state: State) -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1))
        bench.link.units[1].exception = number
        status = await bench.poll(30.0)
        assert set(bench.reasons("m1")) == {reason}
        assert status.devices[0].state is state
        assert status.devices[0].fault.code == "link.refused"
        assert status.devices[0].counts.refused > 0

    run(main)


def test_damaged_answers_are_marked_and_soon_over() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        status = await bench.poll(20.0, (5.5, lambda: setattr(bench.link.units[1], "damaged", 1)))
        assert bench.reasons("m1") == {"good": 19, "corrupt": 1}
        assert status.devices[0].counts.corrupt == 1

    run(main)


def test_constant_damage_does_not_spin() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        bench.link.units[1].damaged = 10**6
        status = await bench.poll(600.0)
        assert status.devices[0].state is State.DEAD
        assert set(bench.reasons("m1")) == {"corrupt"}
        assert len(bench.link.asked) < 100

    run(main)


def test_a_lost_link_comes_back_by_itself_and_evidence_stays() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link())
        bench.link.missing = True
        status = await bench.poll(
            120.0,
            (20.0, lambda: setattr(bench.link, "missing", False)),
            (60.0, lambda: setattr(bench.link, "missing", True)),
            (80.0, lambda: setattr(bench.link, "missing", False)),
        )
        for name in ("m1", "m2", "m3"):
            assert bench.reasons(name, 0, 20) == {"not_connected": 20}
            assert set(bench.reasons(name, 26, 60)) == {"good"}
            assert set(bench.reasons(name, 61.5, 80)) == {"not_connected"}
            assert set(bench.reasons(name, 86, 120)) == {"good"}
        assert status.opened == 2
        assert bench.link.opens < 25

    run(main)


def test_an_overloaded_bus_skips_says_so_and_starves_nobody() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(5, units=5), every=0.1)
        status = await bench.poll(
            120.0, (60.0, lambda: setattr(bench.link.units[5], "dead", False))
        )
        assert status.behind
        assert status.skipped > 1000
        oks = [device.counts.ok for device in status.devices]
        assert min(oks[:4]) > 0.9 * max(oks[:4])
        assert bench.reasons("m5", 90)["good"] > 100  # probed although always something is due

    run(main)


def test_a_lease_pauses_polling_between_requests_and_marks_it() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=1), slow=1000.0)
        start = clock.monotonic()
        polling = asyncio.create_task(bench.poll(60.0))
        await clock.sleep_until(start + 10.5)
        async with bench.port.bus.lease(30) as held:
            asked = len(bench.link.asked)
            await clock.sleep_until(start + 20.5)
            assert len(bench.link.asked) == asked
            assert await held.read(1, "input", 0, 1) == [CELLS[0]]
            assert bench.poller.status().leased
        await polling
        assert bench.reasons("m1", 11, 20) == {"maintenance": 9}
        assert set(bench.reasons("m1", 21)) == {"good"}

    run(main)


def test_the_site_says_when_a_value_is_doubted() -> None:
    check = {"voltage": PointCheck.model_validate({"max_step": "60 V/min", "stuck_after": "20s"})}

    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=2), slow=1000.0, check=check)
        cells = bench.link.units[1].cells

        def becomes(volts: float) -> Callable[[], None]:
            return lambda: cells.update(enumerate(float_words(volts)))

        await bench.poll(
            60.0, (10.5, becomes(231.4)), (15.5, becomes(228.0)), (16.5, becomes(228.9))
        )
        assert bench.reasons("m1", 0, 15.4) == {"good": 16}  # 0.9 V within a second is credible
        assert bench.reasons("m1", 15.5, 16.4) == {"step": 1}
        assert bench.reasons("m1", 16.5, 37.4) == {"good": 21}
        assert set(bench.reasons("m1", 38, 60)) == {"stuck"}
        assert bench.reasons("m2", 21.6, 60).keys() == {"stuck"}
        newest = [s for s in bench.samples if s.device == "m1" and len(s.readings) == 3][-1]
        assert newest.readings[0].value == pytest.approx(228.9)  # doubted, and kept
        assert {r.quality.reason for r in newest.readings[1:]} == {"good"}

    run(main)


def test_a_drivers_bug_is_data() -> None:
    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock, link(units=2), slow=1000.0)
        bench.link.units[1].cells = dict.fromkeys(range(200), 1 << 16)  # no 16-bit number
        await bench.poll(10.0)
        assert set(bench.reasons("m1")) <= {"driver_error", "corrupt"}
        assert set(bench.reasons("m2")) == {"good"}

    run(main)


def describes_itself() -> Discovery:
    """At 0 there is nothing; at 200 a word tells where the voltage is."""
    assert (yield ReadRegisters(300, 2)) is None
    words = yield ReadRegisters(200, 1)
    if words is None or words[0] == 0:
        raise FrameError("no map")
    return replace(METER, registers=(replace(register("voltage", 0), address=words[0]),))


SELF = replace(METER, registers=(), discover=describes_itself, declared=METER.points)


def test_a_device_that_describes_itself() -> None:
    async def main(clock: VirtualClock) -> None:
        far = link(units=2)
        for unit in far.units.values():
            unit.refuse = frozenset({301})
        far.units[1].cells[200] = 6
        bench = Bench(clock, far, driver=SELF)
        status = await bench.poll(30.0, (20.0, lambda: far.units[2].cells.update({200: 6})))
        assert [(r.point, r.value) for r in status.devices[0].readings if r.value] == [
            ("voltage", 4.25)
        ]
        assert status.devices[0].counts.ok >= 29
        assert set(bench.reasons("m1", 0.5)) == {"good"}
        assert set(bench.reasons("m2", 0, 20)) == {"corrupt"}
        assert bench.reasons("m2", 20)["good"] >= 1

    run(main)


def test_a_device_that_cannot_be_asked_what_it_is() -> None:
    async def main(clock: VirtualClock) -> None:
        far = link(1, units=1)
        far.units[1].refuse = frozenset({301})
        far.units[1].cells[200] = 6
        bench = Bench(clock, far, driver=SELF, every=600.0)
        await bench.poll(120.0, (60.0, lambda: setattr(far.units[1], "dead", False)))
        assert bench.reasons("m1", 0, 60) == {"no_response": 1}
        assert bench.reasons("m1", 60) == {"good": 1}

    run(main)
