"""Sensirion SCD40, SCD41 and SCD43 CO2, temperature and humidity on I2C, periodic every 5 s.

Source: data sheet SCD4x V1.4.
"""

from __future__ import annotations

from lamppost_drivers.air.sensirion import command, uint16
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

POINTS = (
    Point("co2", "ppm", 300, 5000),
    Point("temperature", "Cel", -10, 60),
    Point("humidity", "%RH", 0, 100),
)


def setup(address: int) -> Exchange:
    """Stop whatever runs, then measure every 5 s."""
    yield Write(command(0x3F86))
    yield Wait(0.5)
    yield Write(command(0x21B1))
    return {}


def measure(address: int) -> Exchange:
    """The newest values, or not available where none came since the last read."""
    yield Write(command(0xE4B8))
    yield Wait(0.001)
    (ready,) = uint16((yield Read(3)), 1)
    if not ready & 0x07FF:
        return dict.fromkeys((point.name for point in POINTS), Absent.NOT_AVAILABLE)
    yield Write(command(0xEC05))
    yield Wait(0.001)
    return values(*uint16((yield Read(9)), 3))


def values(co2: int, temperature: int, humidity: int) -> Values:
    """Physical values of the three words."""
    return {
        "co2": co2,
        "temperature": -45 + 175 * temperature / 65535,
        "humidity": 100 * humidity / 65535,
    }


DRIVERS = (
    ExchangeDriver(
        model="scd4x",
        bus="i2c",
        address=0x62,
        points=POINTS,
        measure=measure,
        setup=setup,
        documentation=Documentation(
            ("Sensirion SCD40", "Sensirion SCD41", "Sensirion SCD43"),
            "Sensirion SCD4x data sheet V1.4",
            ("Automatic self-calibration needs outdoor air once a week.",),
        ),
        vectors=(
            Vector(
                "the example of the data sheet: 500 ppm, 25 °C, 37 %RH",
                {"co2": 500, "temperature": 25.002670, "humidity": 37.001602},
                reply=(bytes.fromhex("800604"), bytes.fromhex("01f4336667a25eb93c")),
            ),
            Vector(
                "no new value yet",
                dict.fromkeys(("co2", "temperature", "humidity"), Absent.NOT_AVAILABLE),
                reply=(bytes.fromhex("8000a2"),),
            ),
        ),
    ),
)
