"""Captured rows of air sensors and ultrasonic level sensors, put to their drivers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from drivers.verdict import NotClaimed, Pair, Row, printed
from lamppost.cli import captured_air
from lamppost_drivers.air import bme68x, honeywell, scd4x, sen5x
from lamppost_drivers.air import nova_commands as nova
from lamppost_drivers.air.bme280 import FINE, Calibration, compensate
from lamppost_drivers.checksum import crc8_sensirion
from lamppost_drivers.contract import Absent, ExchangeDriver, FrameError, StreamDriver, Values
from lamppost_drivers.framing import ShdlcFraming, first
from lamppost_drivers.library import find
from lamppost_drivers.selftest import exchange, stream
from lamppost_drivers.shdlc import answer, request

NAMES = {
    "raw01": "pm1.cf1", "raw25": "pm25.cf1", "raw10": "pm10.cf1", "pm01": "pm1", "pm25": "pm25", "pm04": "pm4",
    "pm10": "pm10", "n0_3": "count.pm03", "n0_5": "count.pm05", "n1_0": "count.pm1", "n2_5": "count.pm25",
    "n4_0": "count.pm4", "n5_0": "count.pm5", "n10_0": "count.pm10", "temp": "temperature", "rhum": "humidity",
    "CO2": "co2", "diam": "size.typical", "co2_ppm": "co2", "pm2_5": "pm25", "pres": "pressure", "IAQ": "iaq",
    "gas": "gas.resistance", "alt": "altitude",
}  # fmt: skip
FACTORS = {"hPa": 100, "kOhm": 1000}
NOT_A_POINT = ("IAQ_acc",)
"""The source takes it from the low byte of the index, the maker's program from the high one: not told apart here."""
MODELS = {
    "PMS5003T": "pms5003t", "PMSx003": "pms5003", "SDS01x": "sds011", "SPS30": "sps30", "MHZ19B": "mh-z19b",
    "HPMA115S0": "hpma115s0", "HPMA115C0": "hpma115c0", "MCU680": "mcu680",
}  # fmt: skip
COMMANDS = {
    "active": nova.ACTIVE, "passive_mode": nova.QUERY, "passive_read": nova.ASK, "sleep": nova.SLEEP,
    "wake": nova.WORK, "firmware": nova.FIRMWARE,
}  # fmt: skip


def air(row: Row) -> Iterable[Pair]:
    """Frames of UART sensors, and commands to them."""
    expected = row["expected"]
    if expected.get("encode"):
        return [Pair("command", _command(row), bytes.fromhex(row["input_hex"]).hex())]
    if "SHDLC framing" in row["model"]:
        return _shdlc(row)
    if row["model"] not in MODELS:
        raise NotClaimed(row["model"])
    return measured(_values(MODELS[row["model"]], bytes.fromhex(row["input_hex"])), row)


def _values(model: str, data: bytes) -> Values:
    driver = find(model)
    if isinstance(driver, StreamDriver):
        values = stream(driver, [data])
        if not values:
            raise FrameError("no sound frame")
        return values[0]
    assert isinstance(driver, ExchangeDriver)
    return exchange(driver, (data,))


def measured(values: Values, row: Row) -> Iterator[Pair]:
    expected = row["expected"]
    if expected.get("outcome") == "warming_up":
        yield from (Pair(name, value, Absent.WARMING_UP) for name, value in values.items())
        return
    if expected.get("outcome") == "sensor_state_error" and set(values.values()) == {
        Absent.NOT_AVAILABLE
    }:
        raise FrameError("the sensor has no value")
    wanted = expected.get("raw_fields") or {
        name: entry["value"] for name, entry in expected.items() if "value" in entry
    }
    for name, want in wanted.items():
        if name in NOT_A_POINT:
            continue
        entry = expected.get(name)
        factor = FACTORS.get(entry.get("unit", ""), 1) if isinstance(entry, dict) else 1
        digits = factor * printed(want) if isinstance(want, float) else 0.0
        yield Pair(name, values.get(NAMES[name]), want * factor if factor > 1 else want, digits)


def _command(row: Row) -> str:
    said = row["expected"].get("command")
    data = bytes.fromhex(row["input_hex"])
    if row["model"].startswith("HPMA"):
        value = [int(word) for word in said.split() if word.isdecimal()]
        return honeywell.command(0x08, *value).hex() if value else honeywell.command(0x10).hex()
    if row["model"].startswith("SDS"):
        if "working period" in said:
            minutes = int(next(word for word in said.split() if word.isdecimal()))
            return nova.command(nova.working_period(minutes)).hex()
        body = next(body for word, body in COMMANDS.items() if said.startswith(word))
        return nova.command(body, int(said[-4:], 16) if "device" in said else 0xFFFF).hex()
    if "SHDLC" in row["model"]:
        fields = row["expected"]
        return request(
            fields["command"], bytes.fromhex(fields["data_hex"]), fields["address"]
        ).hex()
    raise NotClaimed(f"command {data.hex()}")


def _shdlc(row: Row) -> Iterable[Pair]:
    got = answer(first(ShdlcFraming(), bytes.fromhex(row["input_hex"])))
    said = {"address": got.address, "command": got.command, "state": got.state}
    return shdlc_pairs({**said, "data_hex": got.data.hex()}, row)


def shdlc_pairs(said: Mapping[str, object], row: Row) -> Iterator[Pair]:
    for name in ("address", "command", "state", "data_hex"):
        yield Pair(name, said[name], row["expected"].get(name))


def sensirion_i2c(row: Row) -> Iterable[Pair]:
    """Single words: through the same functions that the drivers call."""
    data, expected = bytes.fromhex(row["input_hex"]), row["expected"]
    word = int.from_bytes(data)
    if "offset_degC" in expected:
        found = captured_air.words(row, find)
        assert found is not None
        return [Pair("offset", found.raw["offset_degC"], expected["offset_degC"])]
    if "crc8" in expected:
        return [Pair("crc8", crc8_sensirion(data), expected["crc8"])]
    if row["model"] == "SCD4x":
        return word_pairs(scd4x.values(word, word, word), row)
    kind = row["model"].removeprefix("SEN5x ")
    name = {
        "humidity": "humidity",
        "mass_concentration": "pm25",
        "air_quality_index": "voc_index",
    }.get(kind)
    if name is None:
        raise NotClaimed(row["model"])
    return word_pairs({name: sen5x.values(data * 8)[name]}, row)


def word_pairs(values: Values, row: Row) -> list[Pair]:
    """One word: a value by the source's name, or whether there is one."""
    names = {"co2_ppm": "co2", "temperature_degC": "temperature", "humidity_%RH": "humidity"}
    (only,) = values.values() if len(values) == 1 else (None,)
    return [
        Pair(name, not isinstance(only, Absent), want)
        if name == "available"
        else Pair(name, values[names[name]] if name in names else only, want)
        for name, want in row["expected"].items()
    ]


def bosch(row: Row) -> Iterable[Pair]:
    """BME280 and BME680 with the calibration of the source."""
    words = row["aux"]["calibration"]
    if row["model"] == "BME680":
        raw, calibrated = json.loads(row["input_text"]), captured_air.bme68x_words(words)
        if "gas_adc" in raw:
            ohm = bme68x.low_resistance(calibrated, raw["gas_adc"], raw["gas_range"])
            return bme680_pairs({"gas.resistance": ohm}, {}, row)
        fine = bme68x.fine(calibrated, raw["adc_T"], raw["temp_offset_degC"])
        return bme680_pairs({"temperature": fine / FINE}, {"t_fine": fine}, row)
    calibration = Calibration(
        tuple(words[f"dig_T{n}"] for n in range(1, 4)),
        tuple(words[f"dig_P{n}"] for n in range(1, 10)),
        tuple(words[f"dig_H{n}"] for n in range(1, 7)),
    )
    raw = row["aux"]["raw"]
    registers = (
        (raw["adc_P"] << 4).to_bytes(3) + (raw["adc_T"] << 4).to_bytes(3) + raw["adc_H"].to_bytes(2)
    )
    return bosch_pairs(compensate(calibration, registers), row)


def bme680_pairs(values: Values, raw: Mapping[str, float], row: Row) -> list[Pair]:
    """The source counts in hundredths of a degree: its temperature before rounding is right to half of one."""
    expected, half = row["expected"], 0.005
    if "gas_resistance_ohm" in expected:
        return [Pair("gas", values["gas.resistance"], expected["gas_resistance_ohm"])]
    degrees = expected["temperature_0.01degC"] / 100
    return [
        Pair("temperature", values["temperature"], degrees, half),
        Pair("t_fine", raw["t_fine"], expected["t_fine"], half * FINE + 2),
    ]


def bosch_pairs(values: Values, row: Row) -> list[Pair]:
    pressure = values["pressure"]
    assert isinstance(pressure, float)
    return [
        Pair("temperature", values["temperature"], row["expected"]["temperature_degC"]),
        Pair("humidity", values["humidity"], row["expected"]["humidity_%RH"]),
        Pair("pressure", pressure / 100, row["expected"]["pressure_hPa"]),
    ]


def level(row: Row) -> Iterable[Pair]:
    """Four-byte distance frames."""
    model = "a02yyuw" if "distance_mm" in row["expected"] else "sen0627"
    return level_pairs(_values(model, bytes.fromhex(row["input_hex"])), row)


def level_pairs(values: Values, row: Row) -> list[Pair]:
    ((name, want),) = row["expected"].items()
    value = values["distance"]
    assert isinstance(value, float)
    return [Pair(name, value * (1000 if name == "distance_mm" else 100), want)]
