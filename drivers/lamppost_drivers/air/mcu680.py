"""GY-MCU680 boards (Bosch BME680 with a controller) on UART: a 20-byte frame a few seconds apart, unasked."""

import struct

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import Absent, Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import talking

POINTS = (
    Point("temperature", "Cel", -40, 85),
    Point("humidity", "%RH", 0, 100),
    Point("pressure", "Pa", 30_000, 110_000),
    Point("iaq", "/", 0, 500),
    Point("gas.resistance", "Ohm", 0, 5e7),
    Point("altitude", "m", -500, 9000),
)
NAMES = tuple(point.name for point in POINTS)
WARMING_UP: Values = dict.fromkeys(NAMES, Absent.WARMING_UP)


def values(frame: bytes) -> Values:
    """Climate, Bosch's air quality index, and the raw resistance of the gas sensor; zeros while it warms up."""
    if not any(frame[4:-1]):
        return WARMING_UP
    temperature, humidity, high, low, iaq, ohm, metres = struct.unpack(">hHBHHIh", frame[4:-1])
    numbers = temperature / 100, humidity / 100, high << 16 | low, iaq & 0x0FFF, ohm, metres
    return dict(zip(NAMES, numbers, strict=True))


_GOOD = "5a5a3f0f09740ac8018b8700190000b0270005"
DRIVERS = (
    talking(
        "mcu680", "GY-MCU680V1", source="the maker's example program", points=POINTS,
        framing=FixedFraming(b"\x5a\x5a\x3f\x0f", 20, lambda frame: sum8(frame[:-1]) == frame[-1]),
        values=values, period=10.0,
        evidence=(
            ("captured", _GOOD + "59", dict(zip(NAMES, (24.2, 27.6, 101_255, 25, 45_095, 5), strict=True))),
            ("warming up", "5a5a3f0f" + 15 * "00" + "02", WARMING_UP),
            ("wrong sum", _GOOD + "58", None),
        ),
        caveats=("iaq is Bosch's index; publish the resistance where numbers must be comparable.",),
    ),
)  # fmt: skip
