"""What a value information field means: quantity, unit, factor. Our own table of EN 13757-3, tables 10, 12 and 14."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Meaning:
    """Quantity and unit of a value, and the exact factor that brings a raw value to that unit."""

    quantity: str
    unit: str
    factor: Fraction = Fraction(1)


DATE, DATE_TIME = "date", "date and time"
UNKNOWN = Meaning("reserved", "")
MANUFACTURER = Meaning("manufacturer specific", "")
_SECONDS = (1, 60, 3600, 86400)

# (first code, number of codes, quantity, unit, power of ten of the first)
_DECADES = (
    (0x00, 8, "energy", "Wh", -3), (0x08, 8, "energy", "J", 0), (0x10, 8, "volume", "m3", -6),
    (0x18, 8, "mass", "kg", -3), (0x28, 8, "power", "W", -3), (0x30, 8, "power", "J/h", 0),
    (0x38, 8, "flow", "m3/h", -6), (0x40, 8, "flow", "m3/min", -7), (0x48, 8, "flow", "m3/s", -9),
    (0x50, 8, "mass flow", "kg/h", -3), (0x58, 4, "flow temperature", "Cel", -3),
    (0x5C, 4, "return temperature", "Cel", -3), (0x60, 4, "temperature difference", "K", -3),
    (0x64, 4, "external temperature", "Cel", -3), (0x68, 4, "pressure", "bar", -3),
    (0x140, 16, "voltage", "V", -9), (0x150, 16, "current", "A", -12),
    (0x200, 2, "energy", "Wh", 5), (0x208, 2, "energy", "J", 8), (0x210, 2, "volume", "m3", 2),
    (0x218, 2, "mass", "kg", 5), (0x21A, 2, "relative humidity", "%RH", -1), (0x228, 2, "power", "W", 5),
    (0x230, 2, "power", "J/h", 8), (0x274, 4, "temperature limit", "Cel", -3), (0x278, 8, "maximum power", "W", -3),
)  # fmt: skip
_DURATIONS = (
    (0x20, "on time"), (0x24, "operating time"), (0x70, "averaging duration"), (0x74, "actuality duration"),
    (0x124, "storage interval"), (0x12C, "duration since readout"), (0x134, "tariff period"),
)  # fmt: skip
_PLAIN: Mapping[int, tuple[str, str]] = {
    0x6C: (DATE, ""), 0x6D: (DATE_TIME, ""), 0x6E: ("heat cost", "HCA"), 0x78: ("fabrication number", ""),
    0x79: ("identification", ""), 0x7A: ("bus address", ""), 0x7E: ("any", ""), 0x108: ("access number", ""),
    0x109: ("medium", ""), 0x10A: ("manufacturer", ""), 0x10B: ("parameter set", ""), 0x10C: ("model version", ""),
    0x10D: ("hardware version", ""), 0x10E: ("firmware version", ""), 0x10F: ("software version", ""),
    0x110: ("customer location", ""), 0x111: ("customer", ""), 0x117: ("error flags", ""), 0x118: ("error mask", ""),
    0x11A: ("digital output", ""), 0x11B: ("digital input", ""), 0x13A: ("dimensionless", ""),
    0x160: ("reset counter", ""), 0x161: ("cumulation counter", ""), 0x167: ("supplier information", ""),
}  # fmt: skip
_LONG_TIMES = (("h", 3600), ("d", 86400))


def _table() -> Iterator[tuple[int, Meaning]]:
    for first, count, quantity, unit, power in _DECADES:
        for step in range(count):
            yield first + step, Meaning(quantity, unit, Fraction(10) ** (power + step))
    for first, quantity in _DURATIONS:
        for step, seconds in enumerate(_SECONDS):
            yield first + step, Meaning(quantity, "s", Fraction(seconds))
    for code, (quantity, unit) in _PLAIN.items():
        yield code, Meaning(quantity, unit)
    for step, (_, seconds) in enumerate(_LONG_TIMES):
        yield 0x168 + step, Meaning("duration since cumulation", "s", Fraction(seconds))
        yield 0x16C + step, Meaning("battery operating time", "s", Fraction(seconds))


TABLE: Mapping[int, Meaning] = dict(
    _table()
)  # primary codes, 100h + code after FDh, 200h + code after FBh

_FIXED = (
    (0x02, 9, "energy", "Wh", 0), (0x0B, 9, "energy", "J", 3), (0x14, 9, "power", "W", 0), (0x1D, 9, "power", "J/h", 3),
    (0x26, 9, "volume", "m3", -6), (0x2F, 9, "flow", "m3/h", -6), (0x38, 1, "temperature", "Cel", -3),
    (0x39, 1, "heat cost", "HCA", 0),
)  # fmt: skip
FIXED: Mapping[int, Meaning] = {
    first + step: Meaning(quantity, unit, Fraction(10) ** (power + step))
    for first, count, quantity, unit, power in _FIXED
    for step in range(count)
}
