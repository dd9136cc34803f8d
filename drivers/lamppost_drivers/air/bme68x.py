"""What the raw values of a Bosch BME680 or BME688 mean: calibration, compensation and the heater's settings. Pure.

Source: Bosch BME680 data sheet BST-BME680-DS001, section 3, and the maker's BME68x Sensor API (floating point).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lamppost_drivers.air.bme280 import FINE, SKIPPED_16, SKIPPED_20, fine_temperature
from lamppost_drivers.contract import Absent, FrameError, Scalar, Values

LOW, HIGH = 0x00, 0x01  # variant: BME680, BME688
NEW_DATA, GAS_VALID, HEATER_STABLE = 0x80, 0x20, 0x10
# Corrections of a BME680's ranges, in percent: of the calibrated span, and of the resistance.
_SPAN = (0, 0, 0, 0, 0, -1, 0, -0.8, 0, 0, -0.2, -0.5, 0, -1, 0, 0)
_RESISTANCE = (0, 0, 0, 0, 0.1, 0.7, 0, -0.8, -0.1, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """T1..T3, P1..P10, H1..H7, GH1..GH3 by the maker's numbers, from index 0; range and value of the heater."""

    t: tuple[int, ...]
    p: tuple[int, ...]
    h: tuple[int, ...]
    gh: tuple[int, ...]
    heat_range: int
    heat_value: int
    range_error: int


def calibration(first: bytes, second: bytes, third: bytes) -> Calibration:
    """From registers 8Ah..A0h, E1h..EEh and 00h..04h. Raises FrameError where they hold no calibration."""
    if (len(first), len(second), len(third)) != (23, 14, 5) or len(set(first)) == 1:
        raise FrameError("no calibration in the sensor")
    t2, t3, p1, p2, p3, p4, p5, p7, p6, p8, p9, p10 = struct.unpack("<hbxHhbxhhbb2xhhB", first)
    h2, both, h1, h3, h4, h5, h6, h7, t1, gh2, gh1, gh3 = struct.unpack("<BBBbbbBbHhbb", second)
    heat_value, heat_range, error = struct.unpack("<bxBxb", third)
    return Calibration(
        (t1, t2, t3),
        (p1, p2, p3, p4, p5, p6, p7, p8, p9, p10),
        (h1 << 4 | both & 0x0F, h2 << 4 | both >> 4, h3, h4, h5, h6, h7),
        (gh1, gh2, gh3),
        heat_range >> 4 & 3,
        heat_value,
        error >> 4,
    )


def fine(c: Calibration, raw: int, offset: float = 0.0) -> float:
    """The temperature in 1/5120 degrees; `offset` in degrees is what the board itself adds, with its sign turned."""
    return fine_temperature((c.t[0], c.t[1], 16 * c.t[2]), raw) + offset * FINE


def compensate(c: Calibration, field: bytes, variant: int) -> Values:
    """Values of the 17 registers from 1Dh on; a channel that was skipped, or a gas not measured, is not available."""
    if len(field) != 17:
        raise FrameError(f"{len(field)} bytes of values, not 17")
    if not field[0] & NEW_DATA:
        raise FrameError("the measurement is not finished")
    pressure, temperature = int.from_bytes(field[2:5]) >> 4, int.from_bytes(field[5:8]) >> 4
    humidity = int.from_bytes(field[8:10])
    gas = resistance(c, field[15:17] if variant == HIGH else field[13:15], variant)
    if temperature == SKIPPED_20:
        absent = dict.fromkeys(("temperature", "pressure", "humidity"), Absent.NOT_AVAILABLE)
        return {**absent, "gas.resistance": gas}
    at = fine(c, temperature)
    none = Absent.NOT_AVAILABLE
    return {
        "temperature": at / FINE,
        "pressure": none if pressure == SKIPPED_20 else _pressure(c.p, at, pressure),
        "humidity": none if humidity == SKIPPED_16 else _humidity(c.h, at / FINE, humidity),
        "gas.resistance": gas,
    }


def _pressure(p: tuple[int, ...], at: float, raw: int) -> Scalar | Absent:
    v1 = at / 2 - 64000
    v2 = v1 * v1 * p[5] / 131072 + v1 * p[4] * 2
    v2 = v2 / 4 + p[3] * 65536
    v1 = (p[2] * v1 * v1 / 16384 + p[1] * v1) / 524288
    v1 = (1 + v1 / 32768) * p[0]
    if v1 == 0:
        return Absent.SENSOR_FAULT
    pascal = (1048576 - raw - v2 / 4096) * 6250 / v1
    v1 = p[8] * pascal * pascal / 2147483648
    v2 = pascal * p[7] / 32768
    v3 = (pascal / 256) ** 3 * p[9] / 131072
    return pascal + (v1 + v2 + v3 + p[6] * 128) / 16


def _humidity(h: tuple[int, ...], celsius: float, raw: int) -> float:
    v1 = raw - (h[0] * 16 + h[2] / 2 * celsius)
    slope = h[1] / 262144 * (1 + h[3] / 16384 * celsius + h[4] / 1048576 * celsius * celsius)
    v2 = v1 * slope
    percent = v2 + (h[5] / 16384 + h[6] / 2097152 * celsius) * v2 * v2
    return min(max(percent, 0.0), 100.0)


def resistance(c: Calibration, gas: bytes, variant: int) -> Scalar | Absent:
    """Ohm of two registers: ten bits of value, whether it was measured and the heater was hot, four bits of range."""
    if not gas[1] & GAS_VALID:
        return Absent.NOT_AVAILABLE
    if not gas[1] & HEATER_STABLE:
        return Absent.WARMING_UP
    value, span = gas[0] << 2 | gas[1] >> 6, gas[1] & 0x0F
    return high_resistance(value, span) if variant == HIGH else low_resistance(c, value, span)


def low_resistance(c: Calibration, value: int, span: int) -> Scalar | Absent:
    """Ohm of a BME680."""
    share = (value - 512) / ((1340 + 5 * c.range_error) * (1 + _SPAN[span] / 100)) + 1
    per_ohm = (1 + _RESISTANCE[span] / 100) * 1.25e-7 * (1 << span) * share
    return 1 / per_ohm if per_ohm > 0 else Absent.SENSOR_FAULT


def high_resistance(value: int, span: int) -> float:
    """Ohm of a BME688."""
    return 1e6 * (262144 >> span) / (4096 + 3 * (value - 512))


def heater(c: Calibration, celsius: float, ambient: float = 25.0) -> int:
    """What register 5Ah holds for a plate of so many degrees at an ambient temperature."""
    v1 = c.gh[0] / 16 + 49
    v2 = c.gh[1] / 32768 * 0.0005 + 0.00235
    v5 = v1 * (1 + v2 * celsius) + c.gh[2] / 1024 * ambient
    raw = 3.4 * (v5 * 4 / (4 + c.heat_range) / (1 + c.heat_value * 0.002) - 25)
    return min(max(int(raw), 0), 255)


def heating(milliseconds: int) -> int:
    """What register 64h holds for so many milliseconds of heating, 1 to 4032: six bits and a power of four."""
    factor = 0
    while milliseconds > 0x3F:
        milliseconds //= 4
        factor += 1
    return min(milliseconds + 64 * factor, 0xFF)
