"""The rest of `hwsim/faults.toml`: I2C, Modbus/TCP, radio and pins, through the real libraries and in real time.

One gateway reads two devices of each kind; every fault in turn hits the first of them, or its link.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("smbus2")
pytest.importorskip("lgpio")
pytest.importorskip("bleak")

from fakes.acquiring import Acquiring
from hwsim.ble import Advertisement, Bluez, PrivateBus
from hwsim.ble_bus import BusError
from hwsim.cli import BOARD
from hwsim.fault_table import COLUMNS, Fault, faults
from hwsim.gpio import GpioChip
from hwsim.i2c import I2cBus
from hwsim.i2c_devices import Sht4x
from hwsim.modbus import Unit
from hwsim.modbus_tcp import ModbusTcpServer, TcpUnit
from hwsim.preload import PreloadError, environment, library

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

LIVE = ("i2c", "tcp", "ble", "pulse")
QUICK = {("dead", "tcp"), ("damaged check", "ble")}
"""By default; the others with `./dev test --all`. What they rest on is tried by test_links_*.py each time."""

METER = {**dict.fromkeys(range(90), 0), 0: 0x4366, 1: 0x8000, 70: 0x4248, 71: 0x0000}
TAG, DOOR = "CB:B8:33:4C:88:4F", "54:48:E6:8F:80:A5"
RUUVI = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
NOTHING = bytes.fromhex("058000FFFFFFFF800080008000FFFFFFFFFFCBB8334C884F")
BTHOME = "0000fcd2-0000-1000-8000-00805f9b34fb"
SEALED = bytes.fromhex("41eae92fe72ae501000000aa576a44")
SITE = """
[[link]]
name = "i2c"
kind = "i2c"
port = "/dev/i2c-1"
[[link]]
name = "tcp"
kind = "modbus-tcp"
host = "127.0.0.1"
port = {port}
timeout = "500ms"
[[link]]
name = "ble"
kind = "ble"
silence = "2s"
[[link]]
name = "pulse"
kind = "gpio"
"""
HIT = {"i2c": "i2c-1", "tcp": "tcp-1", "ble": "ble-1", "pulse": "pulse-1"}
OTHER = {"i2c": "i2c-2", "tcp": "tcp-2", "ble": "ble-2", "pulse": "pulse-2"}
DEVICES = {
    "i2c-1": ("sht4x", ""), "i2c-2": ("sht4x", "address = 0x45"),
    "tcp-1": ("sdm120", 'unit = 1\npoints = ["voltage", "frequency"]'),
    "tcp-2": ("sdm120", 'unit = 2\npoints = ["voltage", "frequency"]'),
    "ble-1": ("bthome-v2", f'mac = "{DOOR}"\nkey = "door"\npoints = ["temperature", "humidity"]'),
    "ble-2": ("ruuvi", f'mac = "{TAG}"\npoints = ["temperature"]'),
    "pulse-1": ("water-pulse-10l", 'pin = 17\ndebounce = "20ms"'),
    "pulse-2": ("water-pulse-10l", 'pin = 18\ndebounce = "20ms"'),
}  # fmt: skip


class Street:
    """Everything around the gateway: sensors that advertise and contacts that pulse, in a thread."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self.bus = I2cBus(folder)
        stack.callback(lambda: self.bus.close())
        self.chip = stack.enter_context(GpioChip(folder, 0))
        self.units = [TcpUnit(n, Unit(inputs=METER)) for n in (1, 2)]
        self.server = stack.enter_context(ModbusTcpServer(self.units))
        self.dbus = stack.enter_context(PrivateBus(folder / "dbus"))
        self.bluez = stack.enter_context(Bluez(self.dbus.address))
        self.devices = {0x44: Sht4x(21.5, 48.0), 0x45: Sht4x(-7.0, 90.0)}
        self.bus.devices = dict(self.devices)
        self.packets = {
            DOOR: Advertisement(DOOR, -75, service={BTHOME: SEALED}),
            TAG: Advertisement(TAG, -61, manufacturer={0x499: RUUVI}),
        }
        self.flowing = {17, 18}
        self.bounce = 0
        self.there = True
        self.pause = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._advertise, self._flow)]
        for thread in self._threads:
            thread.start()
        stack.callback(self.end)

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _advertise(self) -> None:
        while not self._ended.wait(0.1):
            with self.pause:
                for packet in list(self.packets.values()) if self.there else ():
                    self.bluez.advertise(packet)

    def _flow(self) -> None:
        while not self._ended.wait(0.2):
            with self.pause:
                for pin in sorted(self.flowing):
                    self.chip.pulse(pin, 0.06, bounce=self.bounce if pin == 17 else 0)

    def strike(self, column: str, fault: str) -> Callable[[], None]:
        """Let it happen; gives how it ends."""
        return getattr(self, f"_{column}")(fault)  # type: ignore[no-any-return]

    # --- what goes wrong, by kind of device

    def _i2c(self, fault: str) -> Callable[[], None]:
        if fault == "dead":
            del self.bus.devices[0x44]
            return lambda: self.bus.devices.update(self.devices)
        if fault == "damaged check":
            return self._set(self.devices[0x44], bad_crc=True)
        if fault == "stuck bus":
            return self._set(self.bus, stuck=True)
        assert fault == "unplugged"
        self.bus.close()
        return self._new_bus

    def _new_bus(self) -> None:
        self.bus = I2cBus(self._folder)
        self.bus.devices = dict(self.devices)

    def _tcp(self, fault: str) -> Callable[[], None]:
        if fault == "unplugged":
            self.server.unplug()
            return self.server.plug
        if fault == "swapped words":
            swapped = {at ^ 1: word for at, word in METER.items()}
            return self._set(self.units[0], model=Unit(inputs=swapped))
        how: dict[str, dict[str, Any]] = {
            "dead": {"dead": True}, "slow": {"delay": 0.1}, "late": {"late_every": 1, "late": 0.9},
            "dropped answers": {"drop_every": 2}, "wrong address": {"wrong_unit_every": 1},
            "refuses": {"exception": 4}, "busy": {"busy_every": 1},
        }  # fmt: skip
        return self._set(self.units[0].faults, **how[fault])

    def _ble(self, fault: str) -> Callable[[], None]:
        if fault in ("unplugged", "adapter off"):
            with self.pause:
                self.there = False
                if fault == "unplugged":
                    self.bluez.crash()
                else:
                    self.bluez.power(False)
            return self._radio_back
        packets = {
            "damaged check": Advertisement(DOOR, service={BTHOME: SEALED[:-1] + b"\0"}),
            "truncated": Advertisement(DOOR, service={BTHOME: SEALED[:7]}),
            "refuses": Advertisement(TAG, manufacturer={0x499: NOTHING}),
        }
        before = dict(self.packets)
        if fault == "dead":
            self.packets = {TAG: before[TAG]}
        else:
            self.packets = before | {packets[fault].address: packets[fault]}
        return lambda: setattr(self, "packets", before)

    def _radio_back(self) -> None:
        self.bluez.crash()
        self.bluez.restart()
        self.there = True

    def _pulse(self, fault: str) -> Callable[[], None]:
        if fault == "dead":
            self.flowing = {18}
            return lambda: setattr(self, "flowing", {17, 18})
        assert fault == "bounce"
        return self._set(self, bounce=3)

    def _set(self, owner: object, **changes: object) -> Callable[[], None]:
        before = {name: getattr(owner, name) for name in changes}

        def put(values: Mapping[str, object]) -> None:
            for name, value in values.items():
                setattr(owner, name, value)

        put(changes)
        return lambda: put(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Street, Acquiring]]:
    folder = tmp_path_factory.mktemp("faults")
    with ExitStack() as stack:
        try:
            street = Street(folder / "dev", stack)
        except BusError as error:
            pytest.skip(str(error))
        site = SITE.format(port=street.server.port) + "".join(
            f'[[device]]\nname = "{name}"\nmodel = "{model}"\nlink = "{name[:-2]}"\nevery = "400ms"\n{more}\n'
            for name, (model, more) in DEVICES.items()
        )
        credentials = folder / "state" / "credentials"
        credentials.mkdir(parents=True)
        (credentials / "door").write_text(bytes(range(16)).hex())
        env = street.dbus.environment(environment(folder / "dev")) | BOARD
        gateway = stack.enter_context(Acquiring(folder, site, env))
        for name in DEVICES:
            gateway.wait_for(name, "good", seconds=60.0)
        yield street, gateway


CELLS = [
    pytest.param(
        column, fault, id=f"{fault.name} at {column}".replace(" ", "-"),
        marks=[] if (fault.name, column) in QUICK else [pytest.mark.long],
    )
    for fault in faults()
    for column in LIVE
    if isinstance(fault.cells[column], tuple)
]  # fmt: skip


@pytest.mark.parametrize(("column", "fault"), CELLS)
def test_a_fault_is_told_and_stays_alone(
    column: str, fault: Fault, world: tuple[Street, Acquiring]
) -> None:
    street, gateway = world
    hit, other = HIT[column], OTHER[column]
    if (column, fault.name) == ("ble", "refuses"):
        hit, other = other, hit
    begun = len(gateway.samples)
    undo = street.strike(column, fault.name)
    after = len(gateway.samples) + len(DEVICES)
    cell = fault.cells[column]
    assert isinstance(cell, tuple)
    first, *may = cell
    gateway.wait(lambda: first in of(gateway, hit, after), f"{hit} {first}", 60.0)
    unhurt = [n for n in DEVICES if n not in (hit, other)] + [other] * (fault.on == "device")
    gateway.wait(
        lambda: all(len(samples(gateway, n, after)) >= 3 for n in unhurt), "neighbours", 60.0
    )
    told = of(gateway, hit, after)
    undo()
    end = len(gateway.samples)
    for name in unhurt:
        assert of(gateway, name, begun) == {"good"}, name
    assert told <= {first, *may, "good"}, told
    for name in (hit, other):
        gateway.wait_for(name, "good", after=end, seconds=60.0)


def samples(gateway: Acquiring, device: str, after: int) -> list[dict[str, Any]]:
    return [s for s in gateway.samples[after:] if s["device"] == device]


def of(gateway: Acquiring, device: str, after: int) -> set[str]:
    return {reason for s in samples(gateway, device, after) for reason in s["reasons"].values()}


@pytest.mark.long
def test_bounces_count_once(world: tuple[Street, Acquiring]) -> None:
    """The counts of the two pins, one of which has bounced, differ by what flowed while one stood still."""
    street, gateway = world
    undo = street.strike("pulse", "bounce")
    before = gateway.newest("pulse-1")["volume"], gateway.newest("pulse-2")["volume"]
    gateway.wait(lambda: gateway.newest("pulse-2")["volume"] >= before[1] + 0.05, "five pulses")
    undo()
    time.sleep(0.5)
    grown = [gateway.newest(f"pulse-{n}")["volume"] - before[n - 1] for n in (1, 2)]
    assert abs(grown[0] - grown[1]) <= 0.0101, grown


def test_every_cell_of_the_table_is_played_somewhere() -> None:
    from sim.test_faults import SERIAL

    assert sorted((*SERIAL, *LIVE)) == sorted(COLUMNS)
