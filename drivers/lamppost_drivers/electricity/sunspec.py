"""SunSpec devices describe themselves: find "SunS", walk the chain of models, make a register map of what it knows.

SunSpec Information Model Specification: the chain starts after "SunS" at 40000, 50000 or 0; each model has its ID,
its length and its points; ID FFFFh ends it. Scale factors are read with the values, for some inverters change them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lamppost_drivers.contract import (
    Discovery,
    Documentation,
    FrameError,
    Point,
    ReadRegisters,
    Register,
    RegisterMap,
    Vector,
)
from lamppost_drivers.electricity.sunspec_models import INVERTERS, METERS, WEATHERS, placed

BASES = (40000, 50000, 0)
_MARK = (0x5375, 0x6E53)  # "SunS"
_END = 0xFFFF
_LONGEST_CHAIN = 60
_IDENTITY = {
    "manufacturer": (2, 16),
    "model": (18, 16),
    "options": (34, 8),
    "version": (42, 8),
    "serial_number": (50, 16),
}

Walk = Generator[ReadRegisters, Sequence[int] | None, "Chain"]


@dataclass(frozen=True, slots=True)
class Block:
    """One model of a chain: its ID, the address of the register that holds the ID, its length without ID and length."""

    model: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Chain:
    """What a device says of itself: the address of "SunS", its models, and the texts of the common model."""

    base: int
    blocks: tuple[Block, ...]
    identity: Mapping[str, str]


def walk(bases: Sequence[int] = BASES) -> Walk:
    """Find the chain and walk it. Raises FrameError where there is none, or where it does not end."""
    for base in bases:
        mark = yield ReadRegisters(base, 2)
        if mark is not None and tuple(mark[:2]) == _MARK:
            break
    else:
        raise FrameError(f"no SunS at {', '.join(map(str, bases))}")
    blocks: list[Block] = []
    identity: dict[str, str] = {}
    address = base + 2
    while len(blocks) < _LONGEST_CHAIN and address < 0xFFFF:
        head = yield ReadRegisters(address, 2)
        if head is None or len(head) < 2 or head[0] == _END:
            break  # some devices refuse to read past the last model instead of ending the chain
        block = Block(head[0], address, head[1])
        blocks.append(block)
        if block.model == 1 and block.length >= 64 and not identity:
            identity = _texts((yield ReadRegisters(address, 66)))
        address += 2 + block.length
    if not blocks:
        raise FrameError("SunS stands there, but no model follows")
    return Chain(base, tuple(blocks), identity)


def _texts(words: Sequence[int] | None) -> dict[str, str]:
    if words is None or len(words) < 66:
        return {}
    data = b"".join((word & 0xFFFF).to_bytes(2) for word in words)
    texts = {name: data[2 * at : 2 * (at + count)] for name, (at, count) in _IDENTITY.items()}
    return {
        name: text.split(b"\0")[0].decode("ascii", "replace").strip()
        for name, text in texts.items()
    }


def discover(
    frame: RegisterMap, models: Mapping[int, tuple[Register, ...]], bases: Sequence[int] = BASES
) -> Discovery:
    """The map of a device: `frame` with the registers of those models of its chain that are in `models`.

    Where two models hold the same point, the first in the chain has it. Raises FrameError where none is known.
    """
    chain = yield from walk(bases)
    registers: dict[str, Register] = {}
    for block in chain.blocks:
        for register in placed(models.get(block.model, ()), block.address, block.length):
            registers.setdefault(register.point.name, register)
    if not registers:
        present = ", ".join(str(block.model) for block in chain.blocks)
        raise FrameError(f"the device has models {present}; none of them is known here")
    return replace(frame, registers=tuple(registers.values()), discover=None)


def _words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


_COMMON = _words("5375 6e53 0001 0042") + _words("4c61 6d70") + (0,) * 64  # manufacturer "Lamp"
_NO = "8000"


def _documentation(product: str, caveats: tuple[str, ...]) -> Documentation:
    source = "SunSpec Alliance information model definitions"
    return Documentation((f"any {product} with SunSpec Modbus",), source, caveats)


def _family(
    model: str,
    product: str,
    models: Mapping[int, tuple[Register, ...]],
    vectors: tuple[Vector, ...],
    *caveats: str,
) -> RegisterMap:
    declared: dict[str, Point] = {}
    for layout in models.values():
        for register in layout:
            declared.setdefault(register.point.name, register.point)
    frame = RegisterMap(
        model,
        (),
        _documentation(product, caveats),
        vectors,
        max_gap=60,
        declared=tuple(declared.values()),
    )
    return replace(frame, discover=partial(discover, frame, models))


_INVERTER = (
    _words(
        "0067 0032 1e0c 0a04 0a05 0a03 fffe ffff ffff ffff 08fd 08ff 08fa ffff 1388 0000 1388 fffe"
        " 1392 0000 8000 8000 fc19 fffe 0001 e240 0000 04d2 fffe 1770 ffff 03e8 8000 8000 01c2 8000 8000 ffff"
        " 0004 0004 0000 0000"
    )
    + (0,) * 10
)
_METER = (
    _words("00cb 0069 0064 0020 0021 0023 ffff")
    + _words(f"08fc 08fd 08fe 08fb {_NO} 0f96 0f97 0f95 ffff 1387 fffe fc18 fed4 fe70 fed4 0000")
    + _words(" ".join([_NO] * 10) + " 0384 0385 0386 0387 ffff")
    + _words("0000 0000 " * 4 + "0001 86a0 " + "0000 0000 " * 3 + "0001")
    + (0,) * 52
)  # fmt: skip
_WEATHER = _words("0133 000b 00d7 0036 03f5 0003 010e 0002 8000 8000 8000 8000 8000")
_VECTORS = {
    "inverter": Vector(
        "hand-encoded: model 103, what is absent carries the not-implemented value",
        {
            "current": 76.92, "current.l1": 25.64, "voltage.l1": 230.1, "power": 5000.0, "frequency": 50.0,
            "apparent_power": 5010.0, "power_factor": -0.0999, "dc.voltage": 600.0, "state": 4,
        },
        registers={40000: _COMMON + _INVERTER + (_END, 0)},
    ),
    "meter": Vector(
        "hand-encoded: model 203",
        {
            "current": 10.0, "current.l3": 3.5, "voltage.average": 230.0, "voltage.l3_l1": 398.9, "frequency": 49.99,
            "power": -1000.0, "power.l2": -400.0, "power_factor": 0.9, "energy.import": 1000.0,
        },
        registers={50000: _COMMON + _METER + (_END, 0)},
    ),
    "weather": Vector(
        "hand-encoded: model 307",
        {"temperature": 21.5, "humidity": 54, "pressure": 101300, "wind.speed": 3, "wind.direction": 270, "rain": 2},
        registers={0: _COMMON + _WEATHER + (_END, 0)},
    ),
}  # fmt: skip
DRIVERS = (
    _family(
        "sunspec-inverter", "inverter", INVERTERS, (_VECTORS["inverter"],),
        "Power and energy count towards the grid; energy.export is what the inverter has made.",
        "An accumulator of 0 means not implemented in SunSpec.",
    ),
    _family(
        "sunspec-meter", "meter", METERS, (_VECTORS["meter"],),
        "The meter behind an inverter's unit id is a device of its own in the site file, at the same unit.",
        "An accumulator of 0 means not implemented in SunSpec.",
    ),
    _family("sunspec-weather", "weather station", WEATHERS, (_VECTORS["weather"],)),
)  # fmt: skip
