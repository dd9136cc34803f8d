"""Decode blocks of Modbus registers into values: pure, compiled once a block.

A value is correctly rounded decimal where the scale is a power of ten: 2302 × 0.1 is 230.2, not 230.20000000000002.
Word orders are named by how a 32-bit value ABCD stands on the wire: "big" ABCD, "little" CDAB, "BADC" and "DCBA".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamppost_drivers.contract import (
    Absent,
    FrameError,
    Register,
    RegisterMap,
    Scalar,
    Values,
)

# type → (struct code of the value, registers)
TYPES: Mapping[str, tuple[str, int]] = {
    "int16": ("h", 1),
    "uint16": ("H", 1),
    "int32": ("i", 2),
    "uint32": ("I", 2),
    "int64": ("q", 4),
    "uint64": ("Q", 4),
    "float16": ("e", 1),
    "float32": ("f", 2),
    "float64": ("d", 4),
    "bcd16": ("2s", 1),
    "bcd32": ("4s", 2),
    "bcd64": ("8s", 4),
    "int8.high": ("bx", 1),
    "int8.low": ("xb", 1),
    "uint8.high": ("Bx", 1),
    "uint8.low": ("xB", 1),
    "uint16.middle": ("xHx", 2),  # low half of one register and high half of the next
    "ratio16": (
        "h",
        1,
    ),  # with scale_at: a percentage, or a fraction where 100 % would not fit; gives a fraction
    "bool": ("?", 1),
}
WORD_ORDERS = ("big", "little", "BADC", "DCBA")
TEXT = "text"  # ASCII, two characters a register; the map says how many registers

Finish = Callable[[Any], Scalar | Absent]
# name, what makes the value (None: the raw number is it), index of its power of ten, whether it is a ratio
_Step = tuple[str, Finish | None, int | None, bool]


def words_of(type_: str, words: int = 0) -> int:
    """Registers that a value takes; `words` is asked for text only."""
    return words if type_ == TEXT else TYPES[type_][1]


@dataclass(frozen=True, slots=True)
class _Group:
    """Values whose bytes stand in one order: which words to pick, how to pack and unpack them, how to finish."""

    pick: Callable[[Sequence[int]], Sequence[int]]
    pack: struct.Struct
    unpack: struct.Struct
    plan: tuple[_Step, ...]


class Decoder:
    """Decodes the registers of one block that starts at `start` of one table.

    Raises ValueError where a register lies before `start`; `span` is how many registers a block must have.
    """

    def __init__(self, registers: Sequence[Register], start: int) -> None:
        if any(register.address < start for register in registers):
            raise ValueError("a register lies before the block")
        self.span = max((r.address - start + r.words for r in registers), default=0)
        self._bits = tuple((r.point.name, r.address - start) for r in registers if r.type == "bool")
        numbers = [register for register in registers if register.type != "bool"]
        swapped = [register for register in numbers if register.word_order in ("BADC", "DCBA")]
        plain = [register for register in numbers if register.word_order not in ("BADC", "DCBA")]
        self._groups = tuple(
            _group(members, start, sign)
            for members, sign in ((plain, ">"), (swapped, "<"))
            if members
        )

    def decode(self, words: Sequence[int]) -> dict[str, Scalar | Absent]:
        """Values by point name of the words (or coils) of one block. Raises FrameError where it is too short."""
        if len(words) < self.span:
            raise FrameError(f"{len(words)} registers came, {self.span} were asked for")
        values: dict[str, Scalar | Absent] = {name: bool(words[i]) for name, i in self._bits}
        for group in self._groups:
            try:
                packed = group.pack.pack(*group.pick(words))
            except struct.error as error:
                raise FrameError(f"a register is no 16-bit number: {error}") from None
            for (name, finish, power, ratio), raw in zip(
                group.plan, group.unpack.unpack(packed), strict=True
            ):
                value = raw if finish is None else finish(raw)
                values[name] = value if power is None else _powered(value, words[power], ratio)
        return values


def decode(registers: Sequence[Register], blocks: Mapping[int, Sequence[int]]) -> Values:
    """Values of all registers that lie whole within one of the blocks (words by zero-based start address)."""
    values: dict[str, Scalar | Absent] = {}
    for start, words in blocks.items():
        end = start + len(words)
        inside = [r for r in registers if start <= r.address and r.address + r.words <= end]
        values |= Decoder(inside, start).decode(words)
    return values


def decode_map(register_map: RegisterMap, blocks: Mapping[int, Sequence[int]]) -> Values:
    """`decode` over all registers of a map, whatever their table."""
    return decode(register_map.registers, blocks)


def _group(registers: Sequence[Register], start: int, sign: str) -> _Group:
    order: list[int] = []
    code = ">"
    for register in registers:
        place = register.address - start
        indexes = range(place, place + words_of(register.type, register.words))
        text = register.type == TEXT
        turned = register.word_order in ("little", "DCBA") and not text
        order += reversed(indexes) if turned else indexes
        code += f"{2 * register.words}s" if text else TYPES[register.type][0]
    return _Group(
        _picker(order),
        struct.Struct(f"{sign}{len(order)}H"),
        struct.Struct(code),
        tuple(
            (
                r.point.name,
                finish_of(r),
                None if r.scale_at is None else r.scale_at - start,
                r.type == "ratio16",
            )
            for r in registers
        ),
    )


def _picker(order: list[int]) -> Callable[[Sequence[int]], Sequence[int]]:
    first, last = order[0], order[-1]
    if order == list(range(first, last + 1)):
        return lambda words: words[first : last + 1]
    return lambda words: [words[i] for i in order]


def _powered(value: Scalar | Absent, word: int, ratio: bool) -> Scalar | Absent:
    """A value times ten to the power of a signed word; outside −10..10 the factor itself is not available.

    A ratio is a percentage by the standard. With −3 or less the 16 bits end at 32.767, so that 100 % could not be
    said: meters in the field send a fraction then.
    """
    power = word - 0x10000 if word & 0x8000 else word
    if ratio and -10 <= power > -3:
        power -= 2
    if isinstance(value, Absent | str) or not -10 <= power <= 10:
        return value if isinstance(value, Absent) else Absent.NOT_AVAILABLE
    return float(value * 10**power) if power >= 0 else value / 10**-power


def finish_of(register: Register) -> Finish | None:
    """The function that makes a raw value a scalar: absent values, scale, offset; None where nothing is to be done."""
    if register.type == TEXT:
        return _text
    scaling = _scaling(register.scale, register.offset)
    if register.type.startswith("bcd"):
        return _bcd(scaling or (lambda raw: raw))
    absent = frozenset(_signed(value, register.type) for value in register.absent)
    if register.type.startswith("float"):
        return _float(scaling, absent)
    if absent:
        return lambda raw: (
            Absent.NOT_AVAILABLE if raw in absent else scaling(raw) if scaling else raw
        )
    return scaling


def _float(scaling: Callable[[float], float] | None, absent: frozenset[int]) -> Finish:
    if scaling is None and not absent:
        return lambda raw: raw if math.isfinite(raw) else Absent.NOT_AVAILABLE

    def finish(raw: float) -> Scalar | Absent:
        if raw in absent:
            return Absent.NOT_AVAILABLE
        value = raw if scaling is None else scaling(raw)
        return value if math.isfinite(value) else Absent.NOT_AVAILABLE

    return finish


def _bcd(scaling: Callable[[float], float]) -> Finish:
    def finish(raw: bytes) -> Scalar | Absent:
        digits = raw.hex()
        return scaling(int(digits)) if digits.isdecimal() else Absent.NOT_AVAILABLE

    return finish


def _text(raw: bytes) -> Scalar | Absent:
    shown = raw.rstrip(b"\0 ").split(b"\0")[0]
    try:
        text = shown.decode("ascii").strip()
    except UnicodeDecodeError:
        return Absent.NOT_AVAILABLE
    return text if text and text.isprintable() else Absent.NOT_AVAILABLE


def _scaling(scale: float, offset: float) -> Callable[[float], float] | None:
    """raw × scale + offset, dividing by a whole number where that is the exact reciprocal of the scale."""
    if scale == 1 and not offset:
        return None
    divisor = round(1 / scale) if 0 < abs(scale) < 1 else 0
    if divisor and 1 / divisor == scale:
        return (lambda raw: raw / divisor + offset) if offset else (lambda raw: raw / divisor)
    if scale == 1:
        return lambda raw: raw + offset
    return (lambda raw: raw * scale + offset) if offset else (lambda raw: raw * scale)


def _signed(value: int, type_: str) -> int:
    """An absent value may be written as its bit pattern: 0x8000 for −32768 of an int16."""
    if type_.startswith(("int", "ratio")):
        bits = 8 if type_.startswith("int8") else 16 * TYPES[type_][1]
        return value - (1 << bits) if value >> (bits - 1) == 1 else value
    return value
