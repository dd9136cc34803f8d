"""Sensirion SHT40, SHT41 and SHT45 temperature and humidity on I2C, single shot of high precision.

Source: data sheet SHT4x V6.
"""

from __future__ import annotations

from lamppost_drivers.air.sensirion import uint16
from lamppost_drivers.contract import (
    Documentation,
    Exchange,
    ExchangeDriver,
    Point,
    Read,
    Vector,
    Wait,
    Write,
)

MEASURE_HIGH = b"\xfd"


def measure(address: int) -> Exchange:
    """One single-shot measurement. The data sheet asks to crop humidity to 0..100 %RH."""
    yield Write(MEASURE_HIGH)
    yield Wait(0.0083)
    temperature, humidity = uint16((yield Read(6)), 2)
    return {
        "temperature": -45 + 175 * temperature / 65535,
        "humidity": min(max(-6 + 125 * humidity / 65535, 0.0), 100.0),
    }


DRIVERS = (
    ExchangeDriver(
        model="sht4x",
        bus="i2c",
        address=0x44,
        points=(Point("temperature", "Cel", -40, 125), Point("humidity", "%RH", 0, 100)),
        measure=measure,
        documentation=Documentation(
            ("Sensirion SHT40", "Sensirion SHT41", "Sensirion SHT45"),
            "Sensirion SHT4x data sheet V6",
        ),
        vectors=(
            Vector(
                "hand-encoded: BEEFh twice, the word whose CRC (92h) the data sheet gives",
                {"temperature": 85.523003, "humidity": 87.230716},
                reply=(bytes.fromhex("beef92beef92"),),
            ),
            Vector("wrong CRC", None, reply=(bytes.fromhex("beef92beef93"),)),
        ),
    ),
)
