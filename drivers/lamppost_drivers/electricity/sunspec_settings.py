"""What a SunSpec inverter is set to (model 121, basic settings): ratings for people to look at, no measurements.

Offsets count from the register that holds the model's ID, as in sunspec_models.
Source: SunSpec Alliance model definitions, model 121.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamppost_drivers.contract import Absent, Point, Register, Values
from lamppost_drivers.electricity.sunspec import Chain
from lamppost_drivers.electricity.sunspec_models import ABSENT, placed
from lamppost_drivers.registermap import decode

MODEL = 121
_ROWS: tuple[tuple[int, str, str, str, int | None], ...] = (
    (2, "power.max", "uint16", "W", 22),
    (3, "voltage.reference", "uint16", "V", 23),
    (4, "voltage.reference_offset", "int16", "V", 24),
    (5, "voltage.max", "uint16", "V", 25),
    (6, "voltage.min", "uint16", "V", 25),
    (7, "apparent_power.max", "uint16", "VA", 26),
    (8, "reactive_power.max_q1", "int16", "var", 27),
    (9, "reactive_power.max_q2", "int16", "var", 27),
    (10, "reactive_power.max_q3", "int16", "var", 27),
    (11, "reactive_power.max_q4", "int16", "var", 27),
    (12, "power.ramp", "uint16", "%/s", 28),
    (13, "power_factor.min_q1", "int16", "/", 29),
    (14, "power_factor.min_q2", "int16", "/", 29),
    (15, "power_factor.min_q3", "int16", "/", 29),
    (16, "power_factor.min_q4", "int16", "/", 29),
    (17, "reactive_power.action", "uint16", "/", None),
    (18, "apparent_power.method", "uint16", "/", None),
    (20, "frequency.nominal", "uint16", "Hz", 31),
    (21, "phase", "uint16", "/", None),
)
"""Offset, name, type, unit, offset of the scale factor."""
LAYOUT = tuple(
    Register(
        Point(name, unit, -1e300, 1e300),
        offset,
        type_,
        "holding",
        "big",
        1 if sf is None else sf - offset + 1,
        absent=ABSENT[type_],
        scale_at=sf,
    )
    for offset, name, type_, unit, sf in _ROWS
)


def settings_of(chain: Chain, blocks: Mapping[int, Sequence[int]]) -> Values:
    """The settings of the first model 121 of a chain, without those that the device does not have."""
    for block in chain.blocks:
        if block.model == MODEL:
            values = decode(placed(LAYOUT, block.address, block.length), blocks)
            return {n: v for n, v in values.items() if not isinstance(v, Absent)}
    return {}
