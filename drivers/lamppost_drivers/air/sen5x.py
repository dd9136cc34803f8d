"""Sensirion SEN50, SEN54 and SEN55 environmental nodes on I2C: particulates, humidity, temperature, VOC and NOx index.

Source: Sensirion SEN5x data sheet V4. What a member of the family has not is sent as FFFFh or 7FFFh.
"""

from __future__ import annotations

import struct

from lamppost_drivers.air.sensirion import command, uint16, words
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    Point,
    Read,
    Values,
    Vector,
    Wait,
    Write,
)

# name → (point, divisor), in the order of the words
WORDS = {
    "pm1": (Point("pm1", "ug/m3", 0, 1000), 10),
    "pm25": (Point("pm25", "ug/m3", 0, 1000), 10),
    "pm4": (Point("pm4", "ug/m3", 0, 1000), 10),
    "pm10": (Point("pm10", "ug/m3", 0, 1000), 10),
    "humidity": (Point("humidity", "%RH", 0, 100), 100),
    "temperature": (Point("temperature", "Cel", -10, 60), 200),
    "voc_index": (Point("voc_index", "/", 1, 500), 10),
    "nox_index": (Point("nox_index", "/", 1, 500), 10),
}
_UNKNOWN = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0x7FFF, 0x7FFF, 0x7FFF, 0x7FFF)


def setup(address: int) -> Exchange:
    """Start measuring with particulates."""
    yield Write(command(0x0021))
    yield Wait(0.05)
    return {}


def measure(address: int) -> Exchange:
    """The newest values, or not available where none came since the last read."""
    yield Write(command(0x0202))
    yield Wait(0.02)
    (ready,) = uint16((yield Read(3)), 1)
    if not ready & 1:
        return dict.fromkeys(WORDS, Absent.NOT_AVAILABLE)
    yield Write(command(0x03C4))
    yield Wait(0.02)
    return values(words((yield Read(24)), 8))


def values(plain: bytes) -> Values:
    """Physical values of the eight words, CRCs taken out."""
    raw = struct.unpack(">4H4h", plain)
    return {
        name: Absent.NOT_AVAILABLE if word == unknown else word / divisor
        for (name, (_, divisor)), word, unknown in zip(WORDS.items(), raw, _UNKNOWN, strict=True)
    }


DRIVERS = (
    ExchangeDriver(
        model="sen5x",
        bus="i2c",
        address=0x69,
        points=tuple(point for point, _ in WORDS.values()),
        measure=measure,
        setup=setup,
        documentation=Documentation(
            ("Sensirion SEN50", "Sensirion SEN54", "Sensirion SEN55"),
            "Sensirion SEN5x data sheet V4",
            ("SEN50 has particulates only, SEN54 has no NOx: those points are not available.",),
        ),
        vectors=(
            Vector(
                "hand-encoded: SEN54, no NOx",
                {
                    "pm1": 4.2, "pm25": 5.0, "pm4": 5.5, "pm10": 6.0, "humidity": 41.5, "temperature": -3.25,
                    "voc_index": 100.0, "nox_index": Absent.NOT_AVAILABLE,
                },
                reply=(bytes.fromhex("0001b0"), bytes.fromhex("002adc0032260037d3003c3910368cfd768703e8d47fff8f")),
            ),
            Vector("wrong CRC", None, reply=(bytes.fromhex("0001b1"),)),
        ),
    ),
)  # fmt: skip
