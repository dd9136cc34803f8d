"""Bosch BME280 temperature, humidity and pressure on I2C, forced mode.

Source: data sheet BST-BME280-DS002, section 4 and appendix A.
Floating-point compensation. Calibration is read each time, so a sensor may be exchanged on a running gateway.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Scalar,
    Values,
    Vector,
    Wait,
    Write,
)

CHIP_ID = 0x60
SKIPPED_20, SKIPPED_16 = 0x80000, 0x8000
FINE = 5120  # of `fine_temperature` in a degree


@dataclass(frozen=True, slots=True)
class Calibration:
    """Trimming parameters T1..T3, P1..P9 and H1..H6 by the numbers of the data sheet, from index 0."""

    t: tuple[int, ...]
    p: tuple[int, ...]
    h: tuple[int, ...]


def calibration(low: bytes, high: bytes) -> Calibration:
    """From registers 88h..A1h and E1h..E7h. Raises FrameError where they hold no calibration."""
    if len(low) != 26 or len(high) != 7 or len(set(low)) == 1:
        raise FrameError("no calibration in the sensor")
    t1, t2, t3, p1, *p = struct.unpack("<HhhH8h", low[:24])
    h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", high)
    return Calibration(
        (t1, t2, t3), (p1, *p), (low[25], h2, h3, e4 * 16 | e5 & 0x0F, e6 * 16 | e5 >> 4, h6)
    )


def compensate(c: Calibration, raw: bytes) -> Values:
    """Values of registers F7h..FEh; a channel that was skipped is not available."""
    if len(raw) != 8:
        raise FrameError(f"{len(raw)} bytes of values, not 8")
    pressure, temperature = int.from_bytes(raw[0:3]) >> 4, int.from_bytes(raw[3:6]) >> 4
    humidity = int.from_bytes(raw[6:8])
    if temperature == SKIPPED_20:
        return dict.fromkeys(("temperature", "pressure", "humidity"), Absent.NOT_AVAILABLE)
    fine = fine_temperature(c.t, temperature)
    return {
        "temperature": fine / FINE,
        "pressure": Absent.NOT_AVAILABLE
        if pressure == SKIPPED_20
        else _pressure(c.p, fine, pressure),
        "humidity": Absent.NOT_AVAILABLE
        if humidity == SKIPPED_16
        else _humidity(c.h, fine, humidity),
    }


def fine_temperature(t: tuple[int, ...], raw: int) -> float:
    """The temperature in 1/5120 degrees, which pressure and humidity are compensated with."""
    return (raw / 16384 - t[0] / 1024) * t[1] + (raw / 131072 - t[0] / 8192) ** 2 * t[2]


def _pressure(p: tuple[int, ...], fine: float, raw: int) -> Scalar | Absent:
    v1 = fine / 2 - 64000
    v2 = v1 * v1 * p[5] / 32768 + v1 * p[4] * 2
    v2 = v2 / 4 + p[3] * 65536
    v1 = (p[2] * v1 * v1 / 524288 + p[1] * v1) / 524288
    v1 = (1 + v1 / 32768) * p[0]
    if v1 == 0:
        return Absent.SENSOR_FAULT
    pascal = (1048576 - raw - v2 / 4096) * 6250 / v1
    v1 = p[8] * pascal * pascal / 2147483648
    v2 = pascal * p[7] / 32768
    return pascal + (v1 + v2 + p[6]) / 16


def _humidity(h: tuple[int, ...], fine: float, raw: int) -> float:
    v = fine - 76800
    slope = h[1] / 65536 * (1 + h[5] / 67108864 * v * (1 + h[2] / 67108864 * v))
    percent = (raw - (h[3] * 64 + h[4] / 16384 * v)) * slope
    percent *= 1 - h[0] * percent / 524288
    return min(max(percent, 0.0), 100.0)


def measure(address: int) -> Exchange:
    """One forced measurement with single oversampling."""
    yield Write(b"\xd0")
    chip = yield Read(1)
    if chip != bytes((CHIP_ID,)):
        raise FrameError(f"chip id {chip.hex() or 'missing'}, not 60 (BME280)")
    yield Write(b"\x88")
    low = yield Read(26)
    yield Write(b"\xe1")
    high = yield Read(7)
    yield Write(b"\xf2\x01")
    yield Write(b"\xf4\x25")
    yield Wait(0.010)
    yield Write(b"\xf7")
    raw = yield Read(8)
    return compensate(calibration(low, high), raw)


_LOW = bytes.fromhex("706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017004b")
_HIGH = bytes.fromhex("780100112e031e")
_RAW = bytes.fromhex("655ac07eed007649")
DRIVERS = (
    ExchangeDriver(
        model="bme280",
        bus="i2c",
        address=0x76,
        points=(
            Point("temperature", "Cel", -40, 85),
            Point("pressure", "Pa", 30_000, 110_000),
            Point("humidity", "%RH", 0, 100),
        ),
        measure=measure,
        documentation=Documentation(
            ("Bosch BME280",),
            "Bosch BME280 data sheet BST-BME280-DS002",
            (
                "Address 0x77 where SDO is high.",
                "BMP280 answers chip id 58 and has no humidity: it is refused.",
            ),
        ),
        vectors=(
            Vector(
                "temperature and pressure: the worked example of the data sheet; humidity worked by hand",
                {"temperature": 25.082478, "pressure": 100653.27, "humidity": 68.688218},
                reply=(b"\x60", _LOW, _HIGH, _RAW),
            ),
            Vector("a BMP280", None, reply=(b"\x58",)),
        ),
    ),
)
