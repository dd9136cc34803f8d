"""The whole acquisition on simulated lines: real pyserial, real pymodbus, real terminals, faults."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hwsim.air import Pms5003
from hwsim.device import Babbler
from hwsim.line import Line
from hwsim.modbus import RtuUnit, Unit
from hwsim.modbus_pdu import Table
from lamppost import acquire
from lamppost.acquire.health import State
from lamppost.acquire.registry import Registry
from lamppost.acquire.report import BusStatus
from lamppost.clock import SystemClock
from lamppost.config.schema import (
    DeviceSettings,
    Identity,
    LinkSettings,
    ModbusRtuLink,
    SerialLink,
    Site,
    UplinkSettings,
)
from lamppost.errors import LinkError
from lamppost.links.rtu import RtuLink
from lamppost.links.serial import LineSettings
from lamppost.model import Sample

REGISTRY = Registry.load()
WORDS = {at: 0x4366 if at % 2 == 0 else 0x8000 for at in range(400)}  # 230.5 everywhere


def meter(unit: int, **how: object) -> RtuUnit:
    return RtuUnit(unit, Unit(inputs=WORDS), **how)


def device(
    name: str, link: str, unit: int | None, every: float, model: str = "sdm120"
) -> DeviceSettings:
    points = ("voltage", "apparent_power", "power") if model == "sdm120" else ()
    return DeviceSettings.model_construct(
        name=name, model=model, link=link, unit=unit, every=every, points=points
    )


def rtu(name: str, folder: Path, baud: int = 19200, timeout: float = 0.3) -> ModbusRtuLink:
    return ModbusRtuLink.model_construct(
        kind="modbus-rtu", name=name, port=folder / name, baud=baud, timeout=timeout
    )


class Gateway:
    """The acquisition of a site made by hand, and what it delivered."""

    def __init__(self, links: Sequence[LinkSettings], devices: Sequence[DeviceSettings]) -> None:
        self.samples: list[Sample] = []
        site = Site(
            site=Identity(gateway="gw", hub="hub"),
            uplink=UplinkSettings(host="localhost"),
            link=tuple(links),
            device=tuple(devices),
        )
        self.acquisition = acquire.build(site, REGISTRY, SystemClock(), self.samples.append)

    async def run(
        self, seconds: float, *events: tuple[float, Callable[[], object]]
    ) -> tuple[BusStatus, ...]:
        loop = asyncio.get_running_loop()
        for at, event in events:
            loop.call_later(at, event)
        task = asyncio.create_task(self.acquisition.run())
        await asyncio.sleep(seconds)
        status = self.acquisition.status()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        return status

    def reasons(self, name: str) -> Counter[str]:
        return Counter(
            r.quality.reason for s in self.samples if s.device == name for r in s.readings
        )


async def test_a_busy_line_keeps_every_silence(tmp_path: Path) -> None:
    units = [meter(1), meter(2, delay=0.0), meter(3)]  # more than the line can carry
    with Line(tmp_path / "a", 9600, devices=units) as line:
        gateway = Gateway(
            [rtu("a", tmp_path, 9600)], [device(f"m{n}", "a", n, 0.1) for n in (1, 2, 3)]
        )
        (bus,) = await gateway.run(2.5)
        stats = line.stats()
    assert bus.state is State.OK
    assert sum(stats.requests.values()) >= 20
    assert (stats.violations, stats.splits, stats.collisions) == (0, 0, 0)
    assert stats.smallest_gap is not None
    assert stats.smallest_gap >= line.silence
    for name in ("m1", "m2"):
        assert set(gateway.reasons(name)) == {"good"}
    assert {r.value for s in gateway.samples for r in s.readings} == {230.5}


async def test_unplugged_and_back_by_itself(tmp_path: Path) -> None:
    with Line(tmp_path / "a", 19200, devices=[meter(1)]) as line:
        gateway = Gateway([rtu("a", tmp_path)], [device("m1", "a", 1, 0.2)])
        (bus,) = await gateway.run(3.0, (0.6, line.unplug), (1.2, line.plug))
    assert (bus.opened, bus.state) == (2, State.OK)
    reasons = gateway.reasons("m1")
    assert set(reasons) == {"good", "not_connected"}
    assert gateway.samples[-1].readings[0].quality.reason == "good"


async def test_a_port_that_comes_late_stops_nothing(tmp_path: Path) -> None:
    with Line(tmp_path / "b", 19200, devices=[meter(1)]):
        gateway = Gateway(
            [rtu("a", tmp_path), rtu("b", tmp_path)],
            [device("m1", "a", 1, 0.2), device("m2", "b", 1, 0.2)],
        )
        late = Line(tmp_path / "a", 19200, devices=[meter(1)])
        try:
            first, second = await gateway.run(2.5, (0.6, late.start))
        finally:
            late.close()
    assert (first.opened, second.opened) == (1, 1)
    assert set(gateway.reasons("m1")) == {"good", "not_connected"}
    assert set(gateway.reasons("m2")) == {"good"}


async def test_a_bus_that_is_stuck_does_not_delay_another(tmp_path: Path) -> None:
    with (
        Line(tmp_path / "a", 19200, devices=[Babbler()]),
        Line(tmp_path / "b", 19200, devices=[meter(1)]) as healthy,
    ):
        gateway = Gateway(
            [rtu("a", tmp_path), rtu("b", tmp_path)],
            [device("m1", "a", 1, 0.2), device("m2", "b", 1, 0.2)],
        )
        stuck, _ = await gateway.run(2.5)
        asked = healthy.stats().requests[1]
    assert set(gateway.reasons("m1")) <= {"corrupt", "no_response"}
    assert stuck.devices[0].state is not State.OK
    assert set(gateway.reasons("m2")) == {"good"}
    assert asked >= 6


async def test_a_particle_sensor_beside_it(tmp_path: Path) -> None:
    uart = SerialLink.model_construct(kind="serial", name="u", port=tmp_path / "u")
    sensor = Pms5003(period=0.5, warm_up=0.0)
    with Line(tmp_path / "u", 9600, devices=[sensor]):
        gateway = Gateway([uart], [device("air", "u", None, 0.5, "pms5003")])
        (bus,) = await gateway.run(2.2)
    assert gateway.reasons("air")["good"] >= 3 * 12
    assert bus.devices[0].state is State.OK


class Marked(Table):
    """Every cell holds its own address: an answer shows which request it belongs to."""

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        del now
        return [address] * count

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        raise NotImplementedError


class Dawdler(RtuUnit):
    """Answers late at random: past the time-out, and up to `longest` after the request."""

    def __init__(
        self, unit: int, table: Marked, rate: float, timeout: float, longest: float, seed: int
    ) -> None:
        super().__init__(unit, Unit(inputs=table), delay=0.015)
        self._rate, self._from, self._longest = rate, timeout, longest
        self._dice = random.Random(seed)

    def respond(self, pdu: bytes, now: float) -> tuple[float, bytes] | None:
        answer = super().respond(pdu, now)
        if answer is None or self._dice.random() >= self._rate:
            return answer
        return self._dice.uniform(0.9 * self._from, self._longest), answer[1]


async def late_answers(folder: Path, polls: int, rate: float, seed: int) -> Counter[str]:
    """Poll a unit that dawdles, another address each time; every outcome counted."""
    seen = Counter[str]()
    link = RtuLink(folder / "a", LineSettings(115200), timeout=0.03, locks=folder)
    unit = Dawdler(1, Marked(), rate, 0.03, link.late - 0.05, seed)
    with Line(folder / "a", 115200, devices=[unit]) as line:
        await link.open()
        for address in range(polls):
            try:
                words = await link.read(1, "input", address, 4)
            except LinkError as error:
                seen[error.code] += 1
            else:
                seen["right" if list(words) == [address] * 4 else "WRONG"] += 1
        link.close()
        assert line.stats().violations == 0
    return seen


async def test_late_answers_are_never_wrong_values(tmp_path: Path) -> None:
    seed = int(os.environ.get("LAMPPOST_SEED", "7"))
    seen = await late_answers(tmp_path, 120, 0.05, seed)
    assert seen["WRONG"] == 0, f"seed {seed}: {seen}"
    assert seen["link.no-answer"] >= 3
    assert seen["right"] >= 90


@pytest.mark.long
async def test_late_answers_are_never_wrong_values_in_ten_thousand_polls(tmp_path: Path) -> None:
    seen = await late_answers(tmp_path, 10_000, 0.03, 11)
    assert seen["WRONG"] == 0, seen
    assert seen["link.no-answer"] >= 100


@pytest.mark.long
async def test_a_dead_unit_costs_little_and_is_noticed_back(tmp_path: Path) -> None:
    """One of three dies on a line that is asked for more than it can carry."""
    units = [meter(n) for n in (1, 2, 3)]
    with Line(tmp_path / "a", 19200, devices=units) as line:
        gateway = Gateway([rtu("a", tmp_path)], [device(f"m{n}", "a", n, 0.1) for n in (1, 2, 3)])
        marks: list[Counter[int]] = []

        def mark() -> None:
            marks.append(Counter(line.stats().requests))

        units[2].faults.dead = True
        (bus,) = await gateway.run(
            110.0,
            (20.0, mark),
            (80.0, mark),
            (80.1, lambda: setattr(units[2].faults, "dead", False)),
        )
        stats = line.stats()
    asked = {unit: marks[1][unit] - marks[0][unit] for unit in (1, 2, 3)}
    share = asked[3] * 0.3 / 60.0
    assert 0 < share <= 0.03
    assert bus.devices[2].state is State.OK
    assert stats.violations == 0


async def test_a_technicians_lease(tmp_path: Path) -> None:
    with Line(tmp_path / "a", 19200, devices=[meter(1)]):
        gateway = Gateway([rtu("a", tmp_path)], [device("m1", "a", 1, 0.2)])
        running = asyncio.create_task(gateway.run(2.5))
        await asyncio.sleep(0.7)
        async with gateway.acquisition.lease("a", 5) as link:
            assert isinstance(link, RtuLink)
            assert list(await link.read(1, "input", 0, 2)) == [0x4366, 0x8000]
            await asyncio.sleep(0.6)
        await running
    assert gateway.reasons("m1")["maintenance"] >= 3
    assert gateway.samples[-1].readings[0].quality.reason == "good"
