"""Captures of real devices on the simulated wires arrive at the hub's sink as what their sources say they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hwsim.air import Pms5003
from hwsim.line import Line
from hwsim.meters import RegisterDump
from hwsim.modbus import RtuUnit
from lamppost_hub.sinks.store import EmbeddedStore
from shared_folder import shared_path, vectors
from sim.chain import FAST, assert_exactly_once, chain, settled, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.shared]

SITE = (
    FAST[: FAST.index("[[device]]")].replace("baud = 9600 ", 'parity = "N"\nbaud = 9600 ')
    + """
[[device]]
name = "real-sdm120"
model = "sdm120"
link = "rs485-1"
unit = 1
every = "1s"

[[device]]
name = "real-iem3255"
model = "iem3255"
link = "rs485-1"
unit = 2
every = "1s"

[[device]]
name = "real-pms"
model = "pms5003"
link = "uart-1"
every = "500ms"
"""
)

# point → (key that the source's test asserts, factor from its unit to ours)
SDM120 = {
    "phaseVoltage.L1": ("getVoltage()", 1),
    "current.L1": ("getCurrent()", 1),
    "totalActivePower": ("getActivePower()", 1),
    "totalApparentPower": ("getApparentPower()", 1),
    "totalReactivePower": ("getReactivePower()", 1),
    "totalPowerFactor": ("getPowerFactor()", 1),
    "frequency": ("getFrequency()", 1),
    "totalActiveEnergyImport": ("getActiveEnergyDelivered()", 0.001),
    "totalActiveEnergyExport": ("getActiveEnergyReceived()", 0.001),
    "totalReactiveEnergyImport": ("getReactiveEnergyDelivered()", 0.001),
}
IEM3255 = {
    "frequency": ("interpretBasic: Frequency | getFrequency()", 1),
    "totalActivePower": ("activePower: Power | getActivePower()", 1),
    "activePower.L1": ("activePower: Phase power a | getActivePower()", 1),
    "activePower.L2": ("activePower: Phase power b | getActivePower()", 1),
    "activePower.L3": ("activePower: Phase power c | getActivePower()", 1),
    "current.L1": ("current: Phase current a | getCurrent()", 1),
    "current.L2": ("current: Phase current b | getCurrent()", 1),
    "current.L3": ("current: Phase current c | getCurrent()", 1),
    "phaseVoltage.L1": ("voltage: Phase voltage a | getVoltage()", 1),
    "phaseVoltage.L2": ("voltage: Phase voltage b | getVoltage()", 1),
    "phaseVoltage.L3": ("voltage: Phase voltage c | getVoltage()", 1),
    "totalActiveEnergyImport": ("getActiveEnergyDelivered()", 0.001),
    "totalActiveEnergyExport": ("getActiveEnergyReceived()", 0.001),
    "current.average": ("current: Current | getCurrent()", 1),
    "voltage.average": ("voltage: Voltage | getVoltage()", 1),
}
PMS = {"pm1": "pm01", "pm25": "pm25", "pm10": "pm10", "pm1.cf1": "raw01", "pm25.cf1": "raw25",
       "pm10.cf1": "raw10", "count.pm03": "n0_3", "count.pm05": "n0_5", "count.pm1": "n1_0",
       "count.pm25": "n2_5"}  # fmt: skip


def dump(part: str) -> tuple[RegisterDump, dict[str, Any]]:
    """The registers of a real meter, and what its source's tests assert of them."""
    (row,) = (row for row in vectors("modbus/meter_dump") if part in row["id"])
    blocks = json.loads(row["input_text"])["blocks"]
    return RegisterDump.from_hex(blocks), row["expected"]["asserts"]


def frame_of_pms() -> tuple[bytes, dict[str, float]]:
    rows = [
        r for r in vectors("air/plantower") if r["model"] == "PMSx003" and "pm25" in r["expected"]
    ]
    row = rows[0]
    return bytes.fromhex(row["input_hex"]), {k: v["value"] for k, v in row["expected"].items()}


def arrived(store: Path, device: str) -> dict[str, float]:
    """Values at the sink by attribute and phase, or by point where the generic model carries them."""
    found: dict[str, float] = {}
    with EmbeddedStore.open(store) as opened:
        for entity in opened.entities():
            parts = entity["id"].split(":")
            if device not in parts or parts[2] == "Device":
                continue
            for name, attribute in entity.items():
                if not isinstance(attribute, dict) or "urn:lamppost:count" not in attribute:
                    continue
                value = attribute.get("value")
                local = parts[-1] if name.endswith("/numValue") else name.rsplit("/", 1)[-1]
                if isinstance(value, dict):
                    found |= {f"{local}.{member}": v for member, v in value.items()}
                elif isinstance(value, int | float):
                    found[local] = value
    return found


def asserted(asserts: dict[str, Any], key: str, factor: float) -> Any:
    """What the source says, as exactly as it says it: whole numbers are cut off, others rounded as printed."""
    number = next(v for k, v in asserts.items() if k.endswith(key))
    if isinstance(number, int):
        return pytest.approx(number * factor, abs=factor)
    decimals = len(f"{number!r}".partition(".")[2])
    return pytest.approx(number * factor, rel=1e-6, abs=0.5 * 10.0**-decimals * factor)


def test_real_meters_and_a_real_sensor_arrive_with_their_values(tmp_path: Path) -> None:
    shared_path("vectors/modbus/meter_dump")
    (sdm, sdm_says), (iem, iem_says) = dump("sdm120"), dump("pm3200")
    frame, pms_says = frame_of_pms()
    sensor = Pms5003(warm_up=0.0)
    sensor.replay([frame], repeat=True)
    units = [RtuUnit(1, sdm), RtuUnit(2, iem)]
    with (
        Line(tmp_path / "rs485-1", baud=9600, devices=units),
        Line(tmp_path / "uart-1", baud=9600, half_duplex=False, devices=[sensor]),
        chain(tmp_path, SITE, cabinet=False) as bench,
    ):
        sink = bench.hub / "sink.sqlite"
        wait_until(lambda: bench.fleet()["sink"]["readings"] > 150, "a few windows at the sink")
        assert_exactly_once(settled(bench))
        for device, expected, says in (
            ("real-sdm120", SDM120, sdm_says),
            ("real-iem3255", IEM3255, iem_says),
        ):
            found = arrived(sink, device)
            for name, (key, factor) in expected.items():
                assert found[name] == asserted(says, key, factor), name
        found = arrived(sink, "real-pms")
        for point, key in PMS.items():
            assert math.isclose(found[point], pms_says[key], rel_tol=1e-6), point
