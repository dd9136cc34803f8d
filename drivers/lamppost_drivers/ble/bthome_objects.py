"""The objects of BTHome v2: our own table of the format's object ids (bthome.io/format, version 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lamppost_drivers.contract import Kind, Point


@dataclass(frozen=True, slots=True)
class Object:
    """One object id: its point (None where nothing is kept), bytes, sign, and the factor to the point's unit.

    The value is raw × factor, or raw / divisor where that is exact.
    """

    point: Point | None
    size: int
    signed: bool = False
    factor: float = 1.0
    divisor: int = 1


TEXT, RAW = 0x53, 0x54  # carry their own length

_GAUGE, _COUNTER = Kind.GAUGE, Kind.COUNTER
# ids, name, unit, low, high, (bytes, signed, divisor) an id, kind
_NUMBERS: tuple[tuple[str, str, float, float, Mapping[int, tuple[int, bool, int]], Kind], ...] = (
    ("packet_id", "/", 0, 255, {0x00: (1, False, 1)}, _GAUGE),
    ("battery", "%", 0, 100, {0x01: (1, False, 1)}, _GAUGE),
    ("temperature", "Cel", -50, 85, {0x02: (2, True, 100), 0x45: (2, True, 10), 0x57: (1, True, 1)}, _GAUGE),
    ("humidity", "%RH", 0, 100, {0x03: (2, False, 100), 0x2E: (1, False, 1)}, _GAUGE),
    ("illuminance", "lx", 0, 200_000, {0x05: (3, False, 100)}, _GAUGE),
    ("mass", "kg", 0, 1000, {0x06: (2, False, 100)}, _GAUGE),
    ("dew_point", "Cel", -50, 85, {0x08: (2, True, 100)}, _GAUGE),
    (
        "count", "/", -2147483648, 4294967295,
        {0x09: (1, False, 1), 0x3D: (2, False, 1), 0x3E: (4, False, 1),
         0x59: (1, True, 1), 0x5A: (2, True, 1), 0x5B: (4, True, 1)}, _GAUGE,
    ),
    ("energy.total", "kWh", 0, 1e7, {0x0A: (3, False, 1000), 0x4D: (4, False, 1000)}, _COUNTER),
    ("power", "W", -1e6, 1e6, {0x0B: (3, False, 100), 0x5C: (4, True, 100)}, _GAUGE),
    ("voltage", "V", 0, 6554, {0x0C: (2, False, 1000), 0x4A: (2, False, 10)}, _GAUGE),
    ("pm25", "ug/m3", 0, 10_000, {0x0D: (2, False, 1)}, _GAUGE),
    ("pm10", "ug/m3", 0, 10_000, {0x0E: (2, False, 1)}, _GAUGE),
    ("co2", "ppm", 300, 10_000, {0x12: (2, False, 1)}, _GAUGE),
    ("tvoc", "ug/m3", 0, 65_535, {0x13: (2, False, 1)}, _GAUGE),
    ("moisture", "%", 0, 100, {0x14: (2, False, 100), 0x2F: (1, False, 1)}, _GAUGE),
    ("button", "/", 0, 255, {0x3A: (1, False, 1)}, _GAUGE),
    ("dimmer", "/", 0, 65_535, {0x3C: (2, False, 1)}, _GAUGE),
    ("rotation", "deg", -3277, 3277, {0x3F: (2, True, 10)}, _GAUGE),
    ("distance", "m", 0, 6554, {0x40: (2, False, 1000), 0x41: (2, False, 10)}, _GAUGE),
    ("duration", "s", 0, 16_778, {0x42: (3, False, 1000)}, _GAUGE),
    ("current", "A", -33, 66, {0x43: (2, False, 1000), 0x5D: (2, True, 1000)}, _GAUGE),
    ("speed", "m/s", -100, 700, {0x44: (2, False, 100), 0x62: (4, True, 1_000_000)}, _GAUGE),
    ("uv_index", "/", 0, 20, {0x46: (1, False, 10)}, _GAUGE),
    (
        "volume", "m3", 0, 4295,
        {0x47: (2, False, 10_000), 0x48: (2, False, 1_000_000), 0x4E: (4, False, 1_000_000)}, _COUNTER,
    ),
    ("flow", "m3/h", 0, 66, {0x49: (2, False, 1000)}, _GAUGE),
    ("gas.volume", "m3", 0, 4_294_968, {0x4B: (3, False, 1000), 0x4C: (4, False, 1000)}, _COUNTER),
    ("water.volume", "m3", 0, 4295, {0x4F: (4, False, 1_000_000)}, _COUNTER),
    ("acceleration", "m/s2", -2148, 2148, {0x51: (2, False, 1000), 0x63: (4, True, 1_000_000)}, _GAUGE),
    ("gyroscope", "deg/s", 0, 66, {0x52: (2, False, 1000)}, _GAUGE),
    ("volume.stored", "m3", 0, 4295, {0x55: (4, False, 1_000_000)}, _GAUGE),
    ("conductivity", "S/m", 0, 6.6, {0x56: (2, False, 10_000)}, _GAUGE),
    ("direction", "deg", 0, 360, {0x5E: (2, False, 100)}, _GAUGE),
    ("rain", "mm", 0, 6554, {0x5F: (2, False, 10)}, _COUNTER),
    ("channel", "/", 0, 255, {0x60: (1, False, 1)}, _GAUGE),
    ("rotational_speed", "1/min", 0, 65_535, {0x61: (2, False, 1)}, _GAUGE),
    ("light_level", "/", 0, 255, {0x64: (1, False, 1)}, _GAUGE),
)  # fmt: skip
_STATES = {
    0x0F: "binary", 0x10: "power_on", 0x11: "opening", 0x15: "battery_low", 0x16: "battery_charging",
    0x17: "co_detected", 0x18: "cold", 0x19: "connectivity", 0x1A: "door", 0x1B: "garage_door", 0x1C: "gas_detected",
    0x1D: "heat",
    0x1E: "light", 0x1F: "lock", 0x20: "moisture_detected", 0x21: "motion", 0x22: "moving", 0x23: "occupancy",
    0x24: "plug", 0x25: "presence", 0x26: "problem", 0x27: "running", 0x28: "safety", 0x29: "smoke", 0x2A: "sound",
    0x2B: "tamper", 0x2C: "vibration", 0x2D: "window",
}  # fmt: skip


def _table() -> Iterator[tuple[int, Object]]:
    for name, unit, low, high, ids, kind in _NUMBERS:
        point = Point(name, unit, low, high, kind)
        for id_, (size, signed, divisor) in ids.items():
            yield id_, Object(point, size, signed, divisor=divisor)
    for id_, name in _STATES.items():
        yield id_, Object(Point(name, "/", 0, 1), 1)
    yield 0x04, Object(Point("pressure", "Pa", 30_000, 120_000), 3)  # hundredths of a hectopascal
    yield (
        0x07,
        Object(Point("mass", "kg", 0, 1000), 2, factor=0.0045359237),
    )  # hundredths of a pound
    yield 0x58, Object(Point("temperature", "Cel", -50, 85), 1, True, factor=0.35)
    yield 0x50, Object(None, 4)  # a time of the sensor's own clock


OBJECTS: Mapping[int, Object] = dict(_table())
STATES = frozenset(_STATES)
