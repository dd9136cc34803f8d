"""Every fault of simulated hardware at every kind of serial device, in virtual time: `hwsim/faults.toml` is the table.

While the fault lasts, the readings of the device that it hits carry the reason of the table, never a wrong value for
good; its neighbours keep values and rate; afterwards it comes back by itself. Buses, sockets, radio and pins, which
need the kernel, are in test_faults_live.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from fakes.virtual_clock import START_MONOTONIC, VirtualClock, run
from fakes.virtual_ports import Ports, VirtualLine
from hwsim.device import Babbler, Device, Noise
from hwsim.fault_table import COLUMNS, Fault, faults, markdown
from hwsim.mbus import MBusMeter, long
from hwsim.modbus import Faults, RtuUnit, Unit
from hwsim.replay import Answers, Faulty, Frames
from hwsim.site import Control
from hwsim.wire import Wire
from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.config.schema import (
    DeviceSettings,
    Identity,
    LinkSettings,
    MbusLink,
    ModbusRtuLink,
    SerialLink,
    Site,
    UplinkSettings,
)
from lamppost.model import Sample
from lamppost_drivers.contract import ExchangeDriver, StreamDriver, Values
from lamppost_drivers.selftest import equal
from lamppost_drivers.shdlc import request
from shared_folder import CHECKOUT

PAGE = CHECKOUT / "docs/reference/simulated-hardware.md"
REGISTRY = Registry.load()
BEGIN, END, SETTLED, BACK, ENOUGH = 15.0, 50.0, 10.0, 35.0, 15.0
"""Seconds: the fault's span, until it shows at the slowest device, the longest way back, and how long it must stay."""
METER = {0: 0x4366, 1: 0x8000, 70: 0x4248, 71: 0x0000}  # 230.5 V, 50 Hz as an SDM120 has them
SERIAL = ("stream", "uart", "mbus", "rtu")

OF_DEVICES: Mapping[str, Mapping[str, object]] = {
    "dead": {"dead": True},
    "slow": {"delay": 0.15},
    "dropped answers": {"drop_every": 2},
    "damaged check": {"crc_every": 1},
    "truncated": {"truncate_every": 1},
    "wrong address": {"wrong_unit_every": 1},
    "twice": {"twice_every": 1},
}
OF_WIRES: Mapping[str, tuple[str, Callable[[Wire], object]]] = {
    "bit errors": ("bit_error_rate", lambda wire: 0.01),
    "echo": ("echo", lambda wire: True),
    "wrong baud": ("baud", lambda wire: (wire.baud or 0) // 2),
    "wrong parity": ("form", lambda wire: "8N1" if wire.form == "8E1" else "8E1"),
}


class Bus:
    """One kind of device on its kind of line: `target` is the one that faults hit, `neighbours` share the line."""

    every = 2.0
    points: tuple[str, ...] = ()

    def __init__(self, ports: Ports, model: str, wire: Wire, *devices: Device) -> None:
        self.model = model
        self.driver = REGISTRY.find(model)
        self.path = Path("/virtual/hit")
        self.line: VirtualLine = ports.add(self.path, wire, *devices)
        self.target = devices[0]
        self.names = ["hit", *(f"neighbour-{n}" for n in range(1, len(devices)))]
        self.undo: list[Callable[[], None]] = []

    def link(self) -> LinkSettings:
        return SerialLink.model_construct(kind="serial", name="hit", port=self.path)

    def truth(self) -> Values:
        assert isinstance(self.driver, StreamDriver | ExchangeDriver)
        return self.driver.vectors[0].expect or {}

    def settings(self) -> list[DeviceSettings]:
        return [
            DeviceSettings.model_construct(
                name=name, model=self.model, link="hit", every=self.every, points=self.points,
                unit=None if len(self.names) == 1 else number,
            )
            for number, name in enumerate(self.names, 1)
        ]  # fmt: skip

    # --- what goes wrong; each also leaves behind how it ends

    def put(self, owner: object, name: str, value: object) -> None:
        before = getattr(owner, name)
        setattr(owner, name, value)
        self.undo.append(lambda: setattr(owner, name, before))

    def fault(self, **changes: object) -> None:
        assert isinstance(self.target, Faulty | RtuUnit)
        for name, value in changes.items():
            self.put(self.target.faults, name, value)

    def attach(self, device: Device, clock: VirtualClock) -> None:
        self.line.wire.attach(device, clock.monotonic())
        self.undo.append(lambda: self.line.wire.devices.remove(device))

    def become(self, device: Device, clock: VirtualClock) -> None:
        """The target is another device for a while."""
        device.attached(clock.monotonic())
        self.put(self.target, "device", device)

    def strike(self, fault: str, clock: VirtualClock) -> None:
        wire = self.line.wire
        if fault in OF_DEVICES:
            self.fault(**OF_DEVICES[fault])
        elif fault == "late":
            self.fault(late_every=1, late=self.late())
        elif fault in ("stray bytes", "babbling"):
            self.attach(Noise(2.0, seed=5) if fault == "stray bytes" else Babbler(), clock)
        elif fault == "unplugged":
            self.line.unplug()
            self.undo.append(self.line.plug)
        elif fault in OF_WIRES:
            name, value = OF_WIRES[fault]
            self.put(wire, name, value(wire))
        else:
            self.special(fault, clock)

    def late(self) -> float:
        raise NotImplementedError

    def special(self, fault: str, clock: VirtualClock) -> None:
        raise NotImplementedError(f"{fault} at {type(self).__name__}")


class Stream(Bus):
    def __init__(self, ports: Ports) -> None:
        driver = REGISTRY.find("pms5003")
        assert isinstance(driver, StreamDriver)
        self._still = next(v.frame for v in driver.vectors if "zeros" in v.note)
        frame = driver.vectors[0].frame
        wire = Wire(9600, form="8N1", half_duplex=False, seed=1)
        super().__init__(ports, "pms5003", wire, Faulty(Frames([frame.hex()])))

    def special(self, fault: str, clock: VirtualClock) -> None:
        assert fault == "busy"
        self.become(Frames([self._still.hex()]), clock)


class Uart(Bus):
    ASK = request(0x03).hex()
    STARTED: ClassVar = {
        (b"\xff" + request(0x11)).hex(): "7e00110000ee7e",
        request(0, b"\x01\x03").hex(): "7e00000000ff7e",
    }

    def __init__(self, ports: Ports) -> None:
        driver = REGISTRY.find("sps30")
        assert isinstance(driver, ExchangeDriver)
        said = {self.ASK: driver.vectors[0].reply[0].hex(), **self.STARTED}
        wire = Wire(115200, form="8N1", half_duplex=False, seed=1)
        super().__init__(ports, "sps30", wire, Faulty(Answers(said)))

    def late(self) -> float:
        return 1.3

    def special(self, fault: str, clock: VirtualClock) -> None:
        assert fault == "refuses"
        self.become(Answers({self.ASK: "7e000380007c7e", **self.STARTED}), clock)


class MBus(Bus):
    every = 5.0
    points = ("volume",)

    def __init__(self, ports: Ports) -> None:
        driver = REGISTRY.find("mbus-water")
        assert isinstance(driver, ExchangeDriver)
        self._frame = driver.vectors[0].reply[1]
        wire = Wire(2400, form="8E1", seed=1)
        meters = [Faulty(MBusMeter([self._frame], address=n)) for n in (1, 2, 3)]
        super().__init__(ports, "mbus-water", wire, *meters)

    def link(self) -> LinkSettings:
        return MbusLink.model_construct(kind="mbus", name="hit", port=self.path)

    def late(self) -> float:
        return 0.8

    def special(self, fault: str, clock: VirtualClock) -> None:
        if fault == "duplicate address":
            other = self._frame[7:-2].replace(b"\x04\x13\x15\x31", b"\x04\x13\x16\x31")
            self.attach(MBusMeter([long(0x08, 1, 0x72, other)]), clock)
            return
        body = {"refuses": long(0x08, 1, 0x70, b"\x01"), "busy": self._with_status(1)}[fault]
        self.become(MBusMeter([body], secondary=bytes(8)), clock)

    def _with_status(self, status: int) -> bytes:
        data = bytearray(self._frame[7:-2])
        data[9] = status
        return long(0x08, 1, 0x72, bytes(data))


class Rtu(Bus):
    every = 1.0
    points = ("voltage", "frequency")

    def __init__(self, ports: Ports) -> None:
        units = [RtuUnit(n, Unit(inputs=_words(METER))) for n in (1, 2, 3)]
        super().__init__(ports, "sdm120", Wire(19200, form="8N1", seed=1), *units)

    def link(self) -> LinkSettings:
        return _rtu("hit", self.path)

    def truth(self) -> Values:
        return {"voltage": 230.5, "frequency": 50.0}

    def late(self) -> float:
        return 0.6

    def special(self, fault: str, clock: VirtualClock) -> None:
        match fault:
            case "duplicate address":
                self.attach(RtuUnit(1, Unit(inputs=_words({**METER, 0: 0x4365}))), clock)
            case "refuses":
                self.fault(exception=4)
            case "busy":
                self.fault(busy_every=1)
            case "swapped words":
                swapped = {at ^ 1: word for at, word in METER.items()}
                self.put(self.target, "model", Unit(inputs=_words(swapped)))
            case _:
                super().special(fault, clock)


def _words(cells: dict[int, int]) -> dict[int, int]:
    return {**dict.fromkeys(range(90), 0), **cells}


def _rtu(name: str, path: Path) -> LinkSettings:
    return ModbusRtuLink.model_construct(
        kind="modbus-rtu", name=name, port=path, baud=19200, timeout=0.3
    )


BUSES: dict[str, Callable[[Ports], Bus]] = {
    "stream": Stream,
    "uart": Uart,
    "mbus": MBus,
    "rtu": Rtu,
}


class Run:
    """One cell played: what each device delivered."""

    def __init__(self, column: str, fault: str, patch: pytest.MonkeyPatch) -> None:
        self.samples: list[Sample] = []
        self._column, self._fault, self._patch = column, fault, patch
        self.bus: Bus
        run(self._play)

    async def _play(self, clock: VirtualClock) -> None:
        ports = Ports(clock)
        ports.install(self._patch)
        self.bus = bus = BUSES[self._column](ports)
        other = Path("/virtual/other")
        ports.add(other, Wire(19200, form="8N1"), RtuUnit(1, Unit(inputs=_words(METER))))
        bystander = DeviceSettings.model_construct(
            name="bystander", model="sdm120", link="other", unit=1, every=1.0, points=("voltage", "frequency")
        )  # fmt: skip
        site = Site(
            site=Identity(gateway="gw", hub="hub"),
            uplink=UplinkSettings(host="localhost"),
            link=(bus.link(), _rtu("other", other)),
            device=(*bus.settings(), bystander),
        )
        acquisition = acquire.build(site, REGISTRY, clock, self.samples.append)
        task = asyncio.create_task(acquisition.run())
        start = clock.monotonic()
        await clock.sleep_until(start + BEGIN)
        bus.strike(self._fault, clock)
        await clock.sleep_until(start + END)
        for undo in reversed(bus.undo):
            undo()
        await clock.sleep_until(start + END + BACK + ENOUGH)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def of(self, name: str, begin: float, end: float) -> list[Sample]:
        low, high = (round((START_MONOTONIC + at) * 1e9) for at in (begin, end))
        return [s for s in self.samples if s.device == name and low <= s.at.ns < high]

    def reasons(self, name: str, begin: float, end: float) -> Counter[str]:
        return Counter(r.quality.reason for s in self.of(name, begin, end) for r in s.readings)


CELLS = [
    pytest.param(column, fault, id=f"{fault.name} at {column}".replace(" ", "-"))
    for fault in faults()
    for column in SERIAL
    if isinstance(fault.cells[column], tuple)
]


@pytest.mark.parametrize(("column", "fault"), CELLS)
def test_a_fault_is_told_and_stays_alone(
    column: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Run(column, fault.name, monkeypatch)
    bus, allowed = played.bus, fault.cells[column]
    assert set(played.reasons("hit", 5.0, BEGIN - 1)) == {"good"}, "before the fault"
    during = played.reasons("hit", BEGIN + SETTLED, END)
    assert during[allowed[0]], during
    assert set(during) <= set(allowed), during
    after = played.reasons("hit", END + BACK, END + BACK + ENOUGH)
    assert set(after) == {"good"}, after
    truth = bus.truth()
    for sample in played.samples:
        for reading in sample.readings:
            if reading.quality.reason == "good" and sample.device != "bystander":
                assert equal(reading.value, truth.get(reading.point, reading.value)), sample
    unhurt = [("bystander", 1.0)]
    if fault.on == "device":
        unhurt += [(name, bus.every) for name in bus.names[1:]]
    for name, every in unhurt:
        assert set(played.reasons(name, 5.0, END + BACK)) == {"good"}, name
        times = [sample.at.ns / 1e9 for sample in played.of(name, 5.0, END + BACK)]
        assert len(times) >= (END + BACK - 5.0) / every - 2, name
        assert max(b - a for a, b in pairwise(times)) < 2 * every, name


def test_the_table_names_every_fault_of_the_simulators() -> None:
    told = " ".join(fault.how for fault in faults())
    for field in fields(Faults):
        assert field.name.removesuffix("_rate") in told, f"faults.{field.name} is in no row"
    words = {"silence", "noise", "inject", "babble", "unplug"}
    assert all(hasattr(Control, word) for word in words)
    assert all(word in told for word in words)


def test_a_cell_says_a_reason_or_why_not() -> None:
    from lamppost.quality.codes import quality

    for fault in faults():
        assert list(fault.cells) == list(COLUMNS)
        assert any(isinstance(cell, tuple) for cell in fault.cells.values()), fault.name
        for cell in fault.cells.values():
            if isinstance(cell, tuple):
                assert cell
                assert all(quality(reason) for reason in cell if reason != "good"), fault.name
            else:
                assert len(cell) > 5, fault.name


def test_the_page_shows_this_table() -> None:
    assert markdown() in PAGE.read_text(encoding="utf-8"), "run: python -m hwsim.fault_table"


def test_a_wrong_cell_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = next(fault for fault in faults() if fault.name == "dead")
    wrong = replace(dead, cells={**dead.cells, "rtu": ("corrupt",)})
    with pytest.raises(AssertionError):
        test_a_fault_is_told_and_stays_alone("rtu", wrong, monkeypatch)
