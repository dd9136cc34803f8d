"""Captured register dumps and printed frames of Modbus devices, put to maps and to the SunSpec walker."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from drivers import shared_meters
from drivers.verdict import NotClaimed, Pair, Row, printed
from lamppost.cli import captured_commands, captured_sma
from lamppost_drivers.checksum import crc16_arc
from lamppost_drivers.contract import FrameError, Point, Register, RegisterMap, Values
from lamppost_drivers.electricity import sma
from lamppost_drivers.electricity import sunspec as walker
from lamppost_drivers.electricity.sunspec_models import INVERTERS, METERS, WEATHERS
from lamppost_drivers.electricity.sunspec_settings import settings_of
from lamppost_drivers.library import find
from lamppost_drivers.registermap import decode, words_of
from lamppost_drivers.selftest import discovered, registers

Blocks = dict[int, Sequence[int]]
ORDERS = {"AB": "big", "BA": "BADC", "ABCD": "big", "CDAB": "little", "BADC": "BADC", "DCBA": "DCBA",
          "ABCDEFGH": "big", "BADCFEHG": "BADC", "GHEFCDAB": "little"}  # fmt: skip
SIZES = {1: "16", 2: "32", 4: "64"}


def words(hexadecimal: str) -> tuple[int, ...]:
    return tuple(int(hexadecimal[i : i + 4], 16) for i in range(0, len(hexadecimal), 4))


def register(
    type_: str, order: str = "big", scale: float = 1.0, count: int = 0, **more: tuple[int, ...]
) -> Register:
    width = words_of(type_, count)
    return Register(
        Point("value", "/", 0, 1),
        0,
        type_,
        "holding",
        order,
        width,
        scale,
        0.0,
        more.get("absent", ()),
    )


def conversion(row: Row) -> Iterable[Pair]:
    """One value in some word order; where the source keeps an integer type, it cuts the fraction off."""
    raw, aux = words(row["input_hex"]), row["aux"]
    kind, order = aux["data_type"], ORDERS[aux["byte_order"]]
    type_ = {
        "FIXED": f"int{SIZES.get(len(raw))}", "UFIXED": f"uint{SIZES.get(len(raw))}", "INT8L": "int8.low",
        "INT8H": "int8.high", "STRING": "text",
    }.get(kind, kind.removesuffix("-IEEE").lower())  # fmt: skip
    count = len(raw) if type_ == "text" else 0
    value = decode([register(type_, order, aux["scale"] or 1.0, count)], {0: raw})["value"]
    return conversion_pairs(value, row)


def conversion_pairs(value: object, row: Row) -> list[Pair]:
    if row["expected"]["go_type"].startswith(("int", "uint")) and isinstance(value, float):
        value = int(value)
    return [Pair(row["aux"]["data_type"], value, row["expected"]["value"])]


def blocks_of(row: Row) -> Blocks:
    return {
        block["start"]: words(block["registers_hex"])
        for block in json.loads(row["input_text"])["blocks"]
    }


# the source's getter, by map; energies in Wh and varh there
GETTERS = {
    "getVoltage": "voltage", "getCurrent": "current", "getActivePower": "power", "getApparentPower": "apparent_power",
    "getReactivePower": "reactive_power", "getPowerFactor": "power_factor", "getFrequency": "frequency",
    "getActiveEnergyDelivered": "energy.import", "getActiveEnergyReceived": "energy.export",
    "getReactiveEnergyDelivered": "reactive_energy.import", "getReactiveEnergyReceived": "reactive_energy.export",
    "getLineVoltage": "voltage.average_ll",
}  # fmt: skip
AVERAGES = {"voltage": "voltage.average", "current": "current.average"}
NO_NUMBER = (
    "getModel()",
    "getFirmwareRevision",
    "getName",
    "getManufacturer",
    "getManufactureDate",
)


def meter_dump(row: Row) -> Iterable[Pair]:
    """Dumps of meters, of SMA devices and of analog inputs, and SMA's not-a-number values."""
    blocks = blocks_of(row)
    if row["model"] == "sma SmaModbusConstants":
        return shared_meters.constants(row, captured_sma.constants(blocks).values)
    if row["model"] == "sma WebBoxUtils":
        return shared_meters.webbox(row, list(map(dataclasses.asdict, sma.references(blocks))))
    if shared_meters.claimed(row):
        other = find(shared_meters.MODELS[row["model"]])
        assert isinstance(other, RegisterMap)
        return shared_meters.pairs(row, registers(other, blocks))
    model = {"deson SDM120": "sdm120", "schneider PM3200": "pm3255"}.get(row["model"])
    if model is None:
        raise NotClaimed(row["model"])
    driver = find(model)
    assert isinstance(driver, RegisterMap)
    values = decode(driver.registers, blocks)
    return list(getters(row, values, three_phase=model == "pm3255"))


def getters(row: Row, values: Values, three_phase: bool) -> Iterator[Pair]:
    for key, want in row["expected"]["asserts"].items():
        if any(getter in key for getter in NO_NUMBER):
            continue
        getter = re.search(r"(get\w+)\(\)", key)
        assert getter, key
        name = GETTERS[getter[1]]
        phase = re.search(r"(?:[Pp]hase \w+|voltage) ([abc]{1,2}) ", key)
        if phase and len(phase[1]) == 2:
            name = {"ab": "voltage.l1_l2", "bc": "voltage.l2_l3", "ca": "voltage.l3_l1"}[phase[1]]
        elif phase:
            name = f"{name}.l{'abc'.index(phase[1]) + 1}"
        elif three_phase:
            name = AVERAGES.get(name, name)
        yield _pair(key, values.get(name), want)


def _pair(key: str, got: object, want: object) -> Pair:
    """Integers of the source are watts and watt-hours with the fraction cut off."""
    if "Energy" in key and isinstance(got, int | float):
        got = got * 1000
    digits = 1.0 if isinstance(want, int) else printed(want) if isinstance(want, float) else 0.0
    return Pair(key, got, want, min(digits, 1.0))


IDENTITY = {
    "getManufacturer": "manufacturer", "getModelName": "model", "getOptions": "options", "getVersion": "version",
    "getSerialNumber": "serial_number",
}  # fmt: skip
SUNSPEC = {
    "getCurrent": "current", "getVoltage": "voltage", "getActivePower": "power", "getApparentPower": "apparent_power",
    "getReactivePower": "reactive_power", "getPowerFactor": "power_factor", "getFrequency": "frequency",
    "getActiveEnergyExported": "energy.export", "getActiveEnergyImported": "energy.import",
    "getApparentEnergyExported": "apparent_energy.export", "getApparentEnergyImported": "apparent_energy.import",
    "getDcCurrent": "dc.current", "getDcVoltage": "dc.voltage", "getDcPower": "dc.power",
    "getCabinetTemperature": "temperature.cabinet", "getHeatSinkTemperature": "temperature.heat_sink",
    "getTransformerTemperature": "temperature.transformer", "getOtherTemperature": "temperature.other",
    "getGlobalHorizontalIrradiance": "irradiance.global", "getPlaneOfArrayIrradiance": "irradiance.plane",
    "getDiffuseIrradiance": "irradiance.diffuse", "getDirectNormalIrradiance": "irradiance.direct",
    "getOtherIrradiance": "irradiance.other", "getAmbientTemperature": "temperature", "getRelativeHumidity": "humidity",
    "getAtmosphericPressure": "pressure", "getWindSpeed": "wind.speed", "getWindDirection": "wind.direction",
    "getRainAccumulation": "rain", "getSnowAccumulation": "snow", "getElectricField": "electric_field",
    "getSurfaceWetness": "surface_wetness", "getSoilMoisture": "soil_moisture",
    "getBackOfModuleTemperature": "temperature.module", "getLatitude": "latitude", "getLongitude": "longitude",
}  # fmt: skip
REPEATED = {
    "getInclineX": "tilt.{}.x", "getInclineY": "tilt.{}.y", "getInclineZ": "tilt.{}.z",
    "getIrradiance": "reference.{}.irradiance", "getCurrent": "reference.{}.current",
    "getVoltage": "reference.{}.voltage", "getTemperature": "reference.{}.temperature",
}  # fmt: skip
LINES = {
    "VoltagePhaseAPhaseB": "voltage.l1_l2", "VoltagePhaseBPhaseC": "voltage.l2_l3",
    "VoltagePhaseCPhaseA": "voltage.l3_l1", "VoltageLineLineAverage": "voltage.average_ll",
}  # fmt: skip


OF_THE_CHAIN = (
    "commonModelProperties",
    "block",
    "getTypedModel",
    "createModel",
    "events",
    "vendorOperating",
)


def of_models(row: Row) -> list[str]:
    """The assertions of a row that are about values of models, not about the chain."""
    return [key for key in row["expected"]["asserts"] if not key.startswith(OF_THE_CHAIN)]


def sunspec(row: Row) -> Iterable[Pair]:
    """The chain (addresses and lengths of models), the texts of the common model, and the readings."""
    blocks = blocks_of(row)
    base = min(blocks)
    chain = _chain(blocks, base)
    pairs = [*of_chain(row, chain), *shared_meters.settings(row, settings_of(chain, blocks))]
    models = {block.model for block in chain.blocks}
    family = next((known for known in (METERS, INVERTERS, WEATHERS) if models & known.keys()), None)
    if family is None:
        if not pairs:
            raise NotClaimed(f"models {sorted(models)}")
        if len(pairs) < len(row["expected"]["asserts"]) / 2:
            raise NotClaimed(f"models {sorted(models)}, chain only")
        return pairs
    name = (
        "sunspec-meter"
        if family is METERS
        else "sunspec-inverter"
        if family is INVERTERS
        else "sunspec-weather"
    )
    frame = find(name)
    assert isinstance(frame, RegisterMap)
    found = discovered(walker.discover(frame, family, (base,)), blocks)
    values = decode(found.registers, blocks)
    readings = list(of_readings(row, values, inverter=family is INVERTERS))
    if len(pairs + readings) < len(of_models(row)):
        raise NotClaimed(f"readings of another model than {name}")
    return pairs + readings


def _chain(blocks: Mapping[int, Sequence[int]], base: int) -> walker.Chain:
    flat = {start + i: word for start, row in blocks.items() for i, word in enumerate(row)}
    walk = walker.walk((base,))
    step = next(walk)
    while True:
        read = [flat[a] for a in range(step.address, step.address + step.count) if a in flat]
        try:
            step = walk.send(read if len(read) == step.count else None)
        except StopIteration as done:
            chain: walker.Chain = done.value
            return chain


def of_chain(row: Row, chain: walker.Chain) -> Iterator[Pair]:
    asserts = row["expected"]["asserts"]
    for key, want in asserts.items():
        getter = re.search(r"(\w+)\(\)$", key)
        common = key.startswith(("commonModelProperties", "createModelForNonStandardAddress"))
        if common and getter and getter[1] in IDENTITY:
            yield Pair(key, chain.identity.get(IDENTITY[getter[1]], "") or None, want or None)
    at = next((want for key, want in asserts.items() if "getBaseAddress()" in key), None)
    length = next((want for key, want in asserts.items() if "getModelLength()" in key), None)
    if (
        at is not None
    ):  # the source counts from its own start: 1 less than the distance from "SunS", or absolute
        places = {block.address - chain.base: block.length for block in chain.blocks}
        places |= {block.address: block.length for block in chain.blocks}
        near = [places.get(at + off) for off in (0, 1)]
        yield Pair("model length", length if length in near else near[0], length)


def of_readings(row: Row, values: Values, inverter: bool) -> Iterator[Pair]:
    for key, want in row["expected"]["asserts"].items():
        if key.startswith(
            (
                "commonModelProperties",
                "block",
                "getTypedModel",
                "createModel",
                "events",
                "vendorOperating",
            )
        ):
            continue
        getter = re.search(r"(get\w+)\(\)", key)
        line = re.search(r"ModelRegister\.(\w+)", key)
        numbered = re.search(r"(?:Incline|ReferencePoint) (\d)", key)
        if numbered and getter and getter[1] in REPEATED:
            name = REPEATED[getter[1]].format(numbered[1])
            yield Pair(key, values.get(name), want, _rounding(want))
        elif line and line[1] in LINES:
            yield Pair(key, values.get(LINES[line[1]]), want, _rounding(want))
        elif getter and getter[1] in QUADRANTS:
            yield _reactive(key, values, QUADRANTS[getter[1]], want)
        elif getter and getter[1] in SUNSPEC:
            yield from _reading(key, values, SUNSPEC[getter[1]], want, inverter)


QUADRANTS = {
    "getReactiveEnergyImported": ("import_q1", "import_q2"),
    "getReactiveEnergyExported": ("export_q3", "export_q4"),
}


def _reactive(key: str, values: Values, quadrants: tuple[str, ...], want: object) -> Pair:
    """The source adds two quadrants; the sum of two accumulators that are not implemented is 0 to it for the total."""
    phase = re.search(r"\(Phase([ABC])\)", key)
    tail = f".l{'ABC'.index(phase[1]) + 1}" if phase else ""
    parts = [values.get(f"reactive_energy.{quadrant}{tail}") for quadrant in quadrants]
    known = [part for part in parts if isinstance(part, float)]
    got = 1000 * sum(known) if known or not phase else None
    return Pair(key, got, want, _rounding(want))


def _reading(key: str, values: Values, name: str, want: object, inverter: bool) -> Iterator[Pair]:
    phase = re.search(r"Phase ([ABC])\b", key)
    if phase:
        name = f"{name}.l{'ABC'.index(phase[1]) + 1}"
    elif name == "voltage":
        if inverter:
            return  # the source averages the phases by itself
        name = "voltage.average"
    elif name == "power_factor" and "Average" in key:
        name = "power_factor"
    got = values.get(name)
    if "nergy" in key and isinstance(got, int | float):
        got = got * 1000
    yield Pair(key, got, want, _rounding(want))


def _rounding(want: object) -> float:
    return 0.9999 if isinstance(want, int) else printed(want) if isinstance(want, float) else 0.0


def vendor_example(row: Row) -> Iterable[Pair]:
    """Frames printed in manuals: the registers of an answer, put to the map of the device."""
    data, expected = bytes.fromhex(row["input_hex"]), row["expected"]
    if "WITHOUT its CRC" not in row["input_kind"]:
        if crc16_arc(data[:-2], 0xFFFF) != int.from_bytes(data[-2:], "little"):
            raise FrameError("wrong CRC")
        data = data[:-2]
    if expected.get("encode"):
        asked = captured_commands.modbus_request(bytes.fromhex(row["input_hex"]))
        assert asked is not None
        wire = asked["unit"], asked["function"], asked["address"], asked["count"]
        return [Pair("request", struct.pack(">BBHH", *wire).hex(), data.hex())]
    raw = words(data[3 : 3 + data[2]].hex())
    if row["id"] == "vendor-eastron-sdm-holding":
        value = decode([register("float32")], {0: raw})["value"]
        return [Pair("float32", value, expected["value"])]
    if "text" in expected:
        return [
            Pair(
                "text",
                decode([register("text", count=len(raw))], {0: raw})["value"],
                expected["text"],
            )
        ]
    if row["id"] not in PLACES:
        raise NotClaimed(row["model"])
    model, start, _ = PLACES[row["id"]]
    driver = find(model)
    assert isinstance(driver, RegisterMap)
    return vendor_pairs(decode(driver.registers, {start: raw}), row)


# model, first register, our points and how many of the source's unit they are
PLACES: Mapping[str, tuple[str, int, Mapping[str, tuple[str, int]]]] = {
        "vendor-eastron-sdm-v1": ("sdm630", 0, {"value": ("voltage.l1", 1)}),
        "vendor-ee210-temp": ("ee210", 25, {"value": ("temperature", 1)}),
        "vendor-pzem004t-v30": ("pzem004t", 0, {
            "voltage_V": ("voltage", 1), "current_A": ("current", 1), "power_W": ("power", 1),
            "energy_Wh": ("energy.import", 1000), "frequency_Hz": ("frequency", 1),
            "power_factor": ("power_factor", 1), "alarm": ("alarm", 1)}),
        "vendor-escort-td500-level": ("td500", 0, {
            "temperature_degC": ("temperature", 1), "level_raw": ("level.raw", 1)}),
        "vendor-xunchip-xm9505-rain": ("xm9505", 0, {"count": ("rain", 10)}),
        "vendor-xunchip-xm7728-pm": ("xm7728", 0, {}),
    }  # fmt: skip


def vendor_pairs(values: Values, row: Row) -> list[Pair]:
    expected, points = row["expected"], PLACES[row["id"]][2]
    if "registers" in expected:
        return [
            Pair(n, values[n], w)
            for n, w in zip(("pm1", "pm25", "pm10"), expected["registers"], strict=True)
        ]
    return [_vendor(values[name], factor, expected, key) for key, (name, factor) in points.items()]


def _vendor(got: object, factor: int, expected: Mapping[str, float], key: str) -> Pair:
    assert isinstance(got, int | float)
    return Pair(key, got * factor, expected[key], expected.get("abs_tol", 0.0))
