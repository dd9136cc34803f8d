"""Word orders: how a 32-bit value stands in two registers, and which point of a model tells which is right. Pure.

Only voltage (180 to 264 V) and frequency (45 to 65 Hz) tell: anything may be true of a power or an energy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from lamppost_drivers.contract import Register, RegisterMap

KNOWN = {"V": (180.0, 264.0), "Hz": (45.0, 65.0)}
TYPES = {"float32": ">f", "uint32": ">I", "int32": ">i"}
ORDERS = {
    "big": (0, 1, 2, 3),
    "little": (2, 3, 0, 1),
    "BADC": (1, 0, 3, 2),
    "DCBA": (3, 2, 1, 0),
}
"""By name, which bytes as received make up a value's ABCD."""
NAMES = {"big": "ABCD", "little": "CDAB", "BADC": "BADC", "DCBA": "DCBA"}


def telling(driver: RegisterMap) -> Register | None:
    """A register whose plausible value is known: frequency before voltage, as it is everywhere the same."""
    found = [r for r in driver.registers if r.type in TYPES and r.point.unit in KNOWN and _one(r)]
    return min(found, key=lambda r: (r.point.unit != "Hz", r.address), default=None)


def _one(register: Register) -> bool:
    """A voltage between a line and neutral; between two lines, 400 V are right."""
    name = register.point.name
    return register.point.unit != "V" or (
        name.startswith("voltage") and not any(part in name for part in ("l1-l2", "l12", "line"))
    )


def readings(register: Register, words: Sequence[int]) -> dict[str, float]:
    """The value of two words in each order, scaled as the map says. NaN where it is none."""
    raw = struct.pack(">2H", *words[:2])
    found = {}
    for name, order in ORDERS.items():
        (number,) = struct.unpack(TYPES[register.type], bytes(raw[at] for at in order))
        value = number * register.scale + register.offset
        found[name] = round(value, 3) if math.isfinite(value) and abs(value) < 1e12 else 0.0
    return found
