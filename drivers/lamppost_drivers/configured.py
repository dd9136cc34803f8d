"""Meters whose scales are set on site: ask for the settings first, then read with the map that holds for them.

A setting is a register of which some bits are a power of ten: value = raw × scale × 10 ** power. It is read when the
device is first reached, so a setting that is changed later needs a restart of the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from lamppost_drivers.contract import Discovery, FrameError, ReadRegisters, Register, RegisterMap


@dataclass(frozen=True, slots=True)
class Bits:
    """Some bits of a setting: they count `times` in its power, and may be one of `values`."""

    shift: int
    count: int
    times: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """A holding register at zero-based `address` that is a power of ten: `plus` and what its bits add to it."""

    name: str
    address: int
    plus: int
    parts: tuple[Bits, ...]


def power(setting: Setting, word: int) -> int:
    """The power of ten that a setting's register stands for. Raises FrameError where it has no such value."""
    total = setting.plus
    for part in setting.parts:
        value = word >> part.shift & (1 << part.count) - 1
        if value not in part.values:
            raise FrameError(f"setting {setting.name}, register {setting.address}: {value} is none")
        total += part.times * value
    return total


@dataclass(frozen=True, slots=True)
class Configured:
    """How a map is found: `frame` with `registers`, those in `uses` (point → setting) scaled as the device is set.

    A value, so that two readings of one file are equal. Playing it raises FrameError where the device refuses a
    setting or holds no sound one.
    """

    frame: RegisterMap
    registers: tuple[Register, ...]
    settings: tuple[Setting, ...]
    uses: Mapping[str, str]

    def __call__(self) -> Discovery:
        """One discovery: a read for each setting, then the map."""
        powers: dict[str, int] = {}
        for setting in self.settings:
            words = yield ReadRegisters(setting.address, 1)
            if not words:
                raise FrameError(f"setting {setting.name}, register {setting.address}: refused")
            powers[setting.name] = power(setting, words[0])
        placed = tuple(
            replace(r, scale=_times(r.scale, powers[self.uses[r.point.name]]))
            if r.point.name in self.uses
            else r
            for r in self.registers
        )
        return replace(self.frame, registers=placed, discover=None)


def _times(scale: float, ten: int) -> float:
    """A scale times a power of ten, as the nearest number to the decimal: 0.1, not 0.10000000000000001."""
    return float(Decimal(repr(scale)).scaleb(ten))
