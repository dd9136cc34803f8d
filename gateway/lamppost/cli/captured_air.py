"""Captured rows of sensors on UART and I2C: whole frames, and single words of Sensirion and Bosch sensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from lamppost.cli.captured_row import (
    Decoded,
    Refused,
    Row,
    data_of,
    model_of,
    table_of,
    text_of,
    whole,
)
from lamppost_drivers.air import bme68x, scd4x, sen5x
from lamppost_drivers.air.bme280 import FINE, Calibration, compensate
from lamppost_drivers.checksum import crc8_sensirion
from lamppost_drivers.contract import (
    Absent,
    Driver,
    ExchangeDriver,
    FrameError,
    Scalar,
    StreamDriver,
    Values,
)
from lamppost_drivers.framing import ShdlcFraming, first
from lamppost_drivers.selftest import exchange, stream
from lamppost_drivers.shdlc import answer

Find = Callable[[str], Driver]
_ACK = b"\xe5"


def played(driver: StreamDriver | ExchangeDriver, data: bytes) -> Decoded:
    """The first sound frame of a stream, or a conversation in which the device answers with `data`."""
    if isinstance(driver, StreamDriver):
        values = stream(driver, [data])
        if not values:
            raise FrameError(f"no sound frame in {len(data)} bytes")
        return Decoded(driver.points, values[0])
    replies = (_ACK, data) if driver.bus == "mbus" else (data,)
    return Decoded(driver.points, exchange(driver, replies))


def shdlc(row: Row, find: Find) -> Decoded | None:
    """Rows of the framing alone: address, command, state and data of an answer; a command has no state."""
    del find
    if "framing" not in str(row.get("model")):
        return None
    frame = first(ShdlcFraming(), data_of(row))
    if frame[3] != len(frame) - 5 and frame[2] == len(frame) - 4:
        said = {"address": frame[0], "command": frame[1], "data_hex": frame[3:-1].hex()}
        return Decoded((), {}, said)
    got = answer(frame)
    raw = {"address": got.address, "command": got.command, "state": got.state}
    return Decoded((), {}, {**raw, "data_hex": got.data.hex()})


def words(row: Row, find: Find) -> Decoded | None:
    """Words without their check, through the functions that the drivers call; `input_kind` or model says which."""
    model, data = str(row.get("model")), data_of(row)
    if model.startswith("CRC-8"):
        return Decoded((), {}, {"crc8": crc8_sensirion(data)})
    if model == "SCD4x" and "offset" in str(row.get("input_kind")) + str(row.get("id")):
        # A setting: 175 K over all 16 bits, as in the data sheet, 3.7.1.
        return Decoded((), {}, {"offset_degC": 175 * int.from_bytes(data) / 65535})
    if model == "SCD4x":
        return Decoded(find("scd4x").points, _one_word(str(row.get("input_kind")), data))
    if model.startswith("SEN5x "):
        return _sen5x(model.removeprefix("SEN5x "), data, find)
    return None


def _one_word(kind: str, data: bytes) -> Values:
    """One of the three words of an SCD4x; the others are left out."""
    if len(data) != 2:
        raise FrameError("a word has two bytes")
    name = next((n for n in ("co2", "temperature", "humidity") if f"({n} ticks)" in kind), None)
    if name is None:
        raise Refused("device.no-reading", "this word is a setting, not a measurement")
    word = int.from_bytes(data)
    return {name: scd4x.values(word, word, word)[name]}


def _sen5x(kind: str, data: bytes, find: Find) -> Decoded:
    name = {"humidity": "humidity", "mass_concentration": "pm25", "air_quality_index": "voc_index"}
    if kind not in name or len(data) != 2:
        raise Refused("device.no-reading", f"no such word of a SEN5x: {kind[:40]}")
    return Decoded(find("sen5x").points, {name[kind]: sen5x.values(data * 8)[name[kind]]})


def bosch(row: Row, find: Find) -> Decoded | None:
    """BME280 and BME680 with the calibration words of the source in `aux.calibration`."""
    given = table_of(row, "aux").get("calibration")
    if not isinstance(given, dict):
        return None
    if row.get("model") == "BME680":
        return _bme680(row, given, find)
    if row.get("model") != "BME280":
        return None
    data = data_of(row)
    if len(data) != 8:
        raise FrameError(f"registers F7h to FEh are 8 bytes, not {len(data)}")
    words = Calibration(_dig(given, "T", 3), _dig(given, "P", 9), _dig(given, "H", 6))
    return Decoded(model_of(row, find).points, compensate(words, data))


def _bme680(row: Row, given: Mapping[str, object], find: Find) -> Decoded:
    """What the converters read, as JSON in `input_text`: adc_T with temp_offset_degC, or gas_adc with gas_range."""
    try:
        raw = json.loads(text_of(row))
    except (ValueError, RecursionError):
        raise Refused("device.malformed-row", "input_text is not JSON") from None
    if not isinstance(raw, dict):
        raise Refused("device.malformed-row", "input_text is no JSON object")
    words = bme68x_words(given)
    values: dict[str, Scalar | Absent] = {}
    said: dict[str, float] = {}
    if "adc_T" in raw:
        offset = raw.get("temp_offset_degC", 0)
        if (
            isinstance(offset, bool)
            or not isinstance(offset, int | float)
            or not abs(offset) <= 100
        ):
            raise Refused("device.malformed-row", "temp_offset_degC is no number of degrees")
        said["t_fine"] = bme68x.fine(words, whole(raw["adc_T"], "adc_T", 0, 0xFFFFF), offset)
        values["temperature"] = said["t_fine"] / FINE
    if "gas_adc" in raw:
        value = whole(raw["gas_adc"], "gas_adc", 0, 0x3FF)
        span = whole(raw.get("gas_range"), "gas_range", 0, 15)
        high = whole(raw.get("variant", bme68x.LOW), "variant", 0, 1) == bme68x.HIGH
        values["gas.resistance"] = (
            bme68x.high_resistance(value, span)
            if high
            else bme68x.low_resistance(words, value, span)
        )
    return Decoded(model_of(row, find).points, values, said)


def bme68x_words(given: Mapping[str, object]) -> bme68x.Calibration:
    """Calibration words by the names of the maker's program: par_t1, res_heat_range, range_sw_err."""

    def words(letter: str, count: int) -> tuple[int, ...]:
        names = [f"par_{letter}{n}" for n in range(1, count + 1)]
        return tuple(whole(given.get(name), name, -0x8000, 0xFFFF) for name in names)

    return bme68x.Calibration(
        words("t", 3),
        words("p", 10),
        words("h", 7),
        words("gh", 3),
        whole(given.get("res_heat_range"), "res_heat_range", 0, 3),
        whole(given.get("res_heat_val"), "res_heat_val", -128, 127),
        whole(given.get("range_sw_err"), "range_sw_err", -8, 7),
    )


def _dig(given: Mapping[str, object], letter: str, count: int) -> tuple[int, ...]:
    names = [f"dig_{letter}{n}" for n in range(1, count + 1)]
    return tuple(whole(given.get(name), name, -0x8000, 0xFFFF) for name in names)
