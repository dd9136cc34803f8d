"""Read a register map from TOML: all of it checked, nothing of it run.

An unknown key is refused with the model, the key and the nearest valid one. There are no expressions and no
templates: a map is data. This is the only file that imports pydantic.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lamppost_drivers.configured import Bits, Configured, Setting
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Identify,
    Kind,
    Point,
    Register,
    RegisterMap,
    Scalar,
    Serial,
    Table,
    Vector,
)
from lamppost_drivers.registermap import TEXT, TYPES, words_of

LIMIT = 256 * 1024  # bytes of one file
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Address = Annotated[int, Field(ge=0, le=0xFFFF, strict=True)]
Word = Annotated[int, Field(ge=0, le=0xFFFF, strict=True)]
WordOrder = Literal["big", "little", "BADC", "DCBA"]
Text = Annotated[str, Field(min_length=1, max_length=400)]


class MapError(ValueError):
    """A map file is wrong; the message names the file, the key and what to write instead."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Serial(_Part):
    baud: int = Field(9600, ge=300, le=1_000_000)
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    data_bits: Literal[7, 8] = 8


class _Caveat(_Part):
    text: Text
    link: str = ""


class _Identify(_Part):
    address: Address
    type: str
    table: Table | None = None
    equals: int | str
    words: int = Field(0, ge=0, le=32)


class _Bits(_Part):
    shift: int = Field(0, ge=0, le=15, strict=True)
    count: int = Field(16, ge=1, le=16, strict=True)
    times: int = Field(1, ge=-9, le=9, strict=True)
    values: tuple[int, ...] = Field(min_length=1, max_length=32)


class _Setting(_Part):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=30)
    address: Address
    plus: int = Field(0, ge=-12, le=12, strict=True)
    parts: tuple[_Bits, ...] = Field(min_length=1, max_length=4)


class _Point(_Part):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=60)
    address: Address
    type: str
    unit: str = Field("", max_length=12)
    range: tuple[Number, Number] | None = None
    kind: Kind = Kind.GAUGE
    poll: str = Field("normal", pattern=r"^[a-z]+$")
    scale: Number = 1.0
    offset: Number = 0.0
    absent: tuple[int, ...] = Field((), max_length=8)
    table: Table | None = None
    word_order: WordOrder | None = None
    words: int = Field(0, ge=0, le=64)
    scale_at: Address | None = None
    power_from: str = Field("", max_length=30)

    @model_validator(mode="after")
    def _fits(self) -> _Point:
        if self.type not in (*TYPES, TEXT):
            raise ValueError(f"type {self.type!r} is unknown{_nearest(self.type, (*TYPES, TEXT))}")
        if (self.type == TEXT) != (self.words > 0):
            raise ValueError("words belongs to type text, and only there")
        if self.scale_at is not None and not 0 < self.scale_at - self.address < 100:
            raise ValueError("scale_at must come after the value, less than 100 registers away")
        if self.scale == 0:
            raise ValueError("scale 0 makes every reading the same")
        if self.power_from and (self.offset or self.scale_at is not None or self.type == TEXT):
            raise ValueError("power_from goes with a number that has no offset and no scale_at")
        if not (1e-12 <= abs(self.scale) <= 1e12 and abs(self.offset) <= 1e12):
            raise ValueError("scale must lie within 1e-12 and 1e12, offset within 1e12")
        if self.type in (TEXT, "bool"):
            return self
        if self.range is None or not self.range[0] < self.range[1]:
            raise ValueError("range = [low, high] is needed, low below high")
        if not self.unit:
            raise ValueError("unit is needed; write / for a ratio")
        return self


class _Vector(_Part):
    note: Text
    registers: dict[str, tuple[Word, ...]] = Field(min_length=1)
    expect: dict[str, bool | int | float | str] = Field(min_length=1)


class _Map(_Part):
    model: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)
    products: tuple[Text, ...] = Field(min_length=1)
    source: Text
    caveats: tuple[_Caveat, ...] = ()
    table: Table = "holding"
    word_order: WordOrder = "big"
    serial: _Serial = _Serial()
    max_words: int = Field(125, ge=1, le=125)
    max_gap: int = Field(16, ge=0, le=125)
    turnaround: float = Field(0.0, ge=0, le=5)
    identify: _Identify | tuple[_Identify, ...] = ()
    setting: tuple[_Setting, ...] = Field((), max_length=8)
    point: tuple[_Point, ...] = Field(min_length=1, max_length=1000)
    vector: tuple[_Vector, ...] = ()


def load(text: bytes, name: str = "map") -> RegisterMap:
    """A register map from the bytes of a TOML file. Raises MapError naming `name`, the key and a way out."""
    if len(text) > LIMIT:
        raise MapError(f"{name}: larger than {LIMIT // 1024} KiB")
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: not UTF-8, not TOML, numbers of 5000 digits
        raise MapError(f"{name}: not TOML: {error}") from None
    model = document.get("model")
    where = f"{name}: {model}" if isinstance(model, str) else name
    try:
        parsed = _Map.model_validate(document)
    except ValidationError as error:
        raise MapError(f"{where}: {_first_problem(error, document)}") from None
    return _build(parsed, where)


def problems(text: bytes, name: str = "map") -> list[str]:
    """All that is wrong with the bytes of a map file, a line each; none for one that `load` takes."""
    try:
        load(text, name)
    except MapError as wrong:
        first = str(wrong)
    else:
        return []
    try:
        document = tomllib.loads(text.decode("utf-8")) if len(text) <= LIMIT else {}
        _Map.model_validate(document)
    except ValidationError as error:
        return list(dict.fromkeys(f"{name}: {said}" for said in _problems(error, document)))
    except (ValueError, RecursionError):
        pass
    return [first]


def _build(parsed: _Map, where: str) -> RegisterMap:
    registers = tuple(_register(point, parsed) for point in parsed.point)
    names = [register.point.name for register in registers]
    for name in names:
        if names.count(name) > 1:
            raise MapError(f"{where}: point {name!r} stands twice")
    for register in registers:
        if register.address + register.words > 0x10000:
            raise MapError(f"{where}: point {register.point.name!r} ends after register 65535")
        if (register.type == "bool") != (register.table in ("coil", "discrete")):
            raise MapError(
                f"{where}: point {register.point.name!r}: type bool and coils belong together"
            )
    identify = parsed.identify if isinstance(parsed.identify, tuple) else (parsed.identify,)
    caveats = tuple(f"{c.text} ({c.link})" if c.link else c.text for c in parsed.caveats)
    found = RegisterMap(
        model=parsed.model,
        registers=registers,
        documentation=Documentation(parsed.products, parsed.source, caveats),
        vectors=tuple(_vector(vector, names, where) for vector in parsed.vector),
        serial=Serial(**parsed.serial.model_dump()),
        max_words=parsed.max_words,
        max_gap=parsed.max_gap,
        turnaround=parsed.turnaround,
        identify=tuple(
            Identify(i.address, i.type, i.table or parsed.table, i.equals) for i in identify
        ),
    )
    return _with_settings(found, parsed, where)


def _with_settings(found: RegisterMap, parsed: _Map, where: str) -> RegisterMap:
    """The map itself, or of a device that is asked for its settings before its registers are known."""
    names = [setting.name for setting in parsed.setting]
    uses = {point.name: point.power_from for point in parsed.point if point.power_from}
    for point, setting in uses.items():
        if setting not in names:
            meant = _nearest(setting, names) if names else ""
            raise MapError(f"{where}: point {point!r}: no setting {setting!r}{meant}")
    if not parsed.setting:
        return found
    settings = tuple(
        Setting(s.name, s.address, s.plus, tuple(Bits(**part.model_dump()) for part in s.parts))
        for s in parsed.setting
    )
    frame = replace(found, registers=(), declared=found.points)
    return replace(frame, discover=Configured(frame, found.registers, settings, uses))


def _register(point: _Point, parsed: _Map) -> Register:
    low, high = point.range or (0.0, 1.0 if point.type == "bool" else 0.0)
    return Register(
        point=Point(point.name, point.unit, low, high, point.kind),
        address=point.address,
        type=point.type,
        table=point.table or parsed.table,
        word_order=point.word_order or parsed.word_order,
        words=_span(point),
        scale=point.scale,
        offset=point.offset,
        absent=point.absent,
        poll=point.poll,
        scale_at=point.scale_at,
    )


def _span(point: _Point) -> int:
    """Registers to read from the address of a point on: its own, and those up to its power of ten."""
    own = words_of(point.type, point.words)
    return own if point.scale_at is None else max(own, point.scale_at - point.address + 1)


def _vector(vector: _Vector, names: list[str], where: str) -> Vector:
    for name in vector.expect:
        if name not in names:
            raise MapError(f"{where}: vector expects {name!r}{_nearest(name, names)}")
    if bad := [key for key in vector.registers if not key.isdecimal() or int(key) > 0xFFFF]:
        raise MapError(f"{where}: vector register {bad[0]!r} is no address")
    absent = {reason.value: reason for reason in Absent}
    expect: dict[str, Scalar | Absent] = {
        name: absent.get(value, value) if isinstance(value, str) else value
        for name, value in vector.expect.items()
    }
    blocks = {int(start): words for start, words in vector.registers.items()}
    return Vector(vector.note, expect, registers=blocks)


def _first_problem(error: ValidationError, document: dict[str, Any]) -> str:
    """One problem in words, a misspelt key before what is missing for it."""
    return _problems(error, document)[0]


def _problems(error: ValidationError, document: dict[str, Any]) -> list[str]:
    """All problems in words, misspelt keys first: where, what, the nearest valid key."""
    # A list is called too short only because its entries were refused: that is no problem of its own.
    own = (e for e in error.errors(include_url=False) if e["type"] != "too_short" or not e["input"])
    found = sorted(own, key=lambda each: each["type"] != "extra_forbidden")
    return [_said(each, document) for each in found]


def _said(problem: ErrorDetails, document: dict[str, Any]) -> str:
    path = [part for part in problem["loc"] if not str(part).startswith(("_", "tuple["))]
    key = ".".join(_named(document, path))
    if problem["type"] != "extra_forbidden":
        said = problem["msg"].removeprefix("Value error, ")
        return f"{key}: {said}" if key else said
    parts: dict[str, type[_Part]] = {
        "point": _Point, "vector": _Vector, "serial": _Serial, "caveats": _Caveat, "identify": _Identify,
        "setting": _Setting,
    }  # fmt: skip
    owner = parts.get(str(path[0]), _Map) if len(path) > 1 else _Map
    owner = _Bits if "parts" in path[:-1] else owner
    return f"{key}: unknown key{_nearest(str(path[-1]), tuple(owner.model_fields))}"


def _named(document: dict[str, Any], path: list[int | str]) -> list[str]:
    """A path with the name of a point in place of its number, where it has one."""
    shown: list[str] = []
    at: Any = document
    for part in path:
        at = at[part] if isinstance(at, list) and isinstance(part, int) else (
            at.get(part) if isinstance(at, dict) else None
        )  # fmt: skip
        name = at.get("name") if isinstance(at, dict) else None
        shown.append(f"[{name}]" if isinstance(part, int) and isinstance(name, str) else str(part))
    return shown


def _nearest(word: str, valid: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are {', '.join(valid)}"
