"""Captured rows of sensors on UART and I2C: whole frames, and single words of Sensirion and Bosch sensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamppost.cli.captured_row import Decoded, Refused, Row, data_of, model_of, table_of, whole
from lamppost_drivers.air import scd4x, sen5x
from lamppost_drivers.air.bme280 import Calibration, compensate
from lamppost_drivers.checksum import crc8_sensirion
from lamppost_drivers.contract import Driver, ExchangeDriver, FrameError, StreamDriver, Values
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
    """BME280 with the calibration words of the source in `aux.calibration`."""
    given = table_of(row, "aux").get("calibration")
    if row.get("model") != "BME280" or not isinstance(given, dict):
        return None
    data = data_of(row)
    if len(data) != 8:
        raise FrameError(f"registers F7h to FEh are 8 bytes, not {len(data)}")
    calibration = Calibration(_dig(given, "T", 3), _dig(given, "P", 9), _dig(given, "H", 6))
    return Decoded(model_of(row, find).points, compensate(calibration, data))


def _dig(given: Mapping[str, object], letter: str, count: int) -> tuple[int, ...]:
    names = [f"dig_{letter}{n}" for n in range(1, count + 1)]
    return tuple(whole(given.get(name), name, -0x8000, 0xFFFF) for name in names)
