"""Records of a meter's answer: DIF, VIF and data become values with a quantity and a unit.

Source: EN 13757-3, clauses 5 to 8.
A number that is no number (BCD digits above 9, NaN, a date that says "invalid") has the value None.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from fractions import Fraction

from lamppost_drivers.contract import FrameError
from lamppost_drivers.mbus.units import (
    DATE,
    DATE_TIME,
    FIXED,
    MANUFACTURER,
    TABLE,
    UNKNOWN,
    Meaning,
)

Value = float | int | str | None

INSTANT, MAXIMUM, MINIMUM, ERROR = range(4)
_FILLER, _MANUFACTURER, _MORE = 0x2F, 0x0F, 0x1F
_LENGTHS = {
    0: 0,
    1: 1,
    2: 2,
    3: 3,
    4: 4,
    5: 4,
    6: 6,
    7: 8,
    8: 0,
    9: 1,
    0xA: 2,
    0xB: 3,
    0xC: 4,
    0xE: 6,
}
_FLOAT, _VARIABLE = 5, 0xD
_BCD = (9, 0xA, 0xB, 0xC, 0xE)


@dataclass(frozen=True, slots=True)
class Record:
    """One value: what it is, its storage, tariff and sub-unit, and the VIF extensions that change its sense."""

    quantity: str
    unit: str
    value: Value
    function: int = INSTANT
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    modifiers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered: eight digits, three letters, version, medium, access number and status."""

    identification: str
    manufacturer: str
    version: int
    medium: int
    access: int
    status: int


@dataclass(frozen=True, slots=True)
class Telegram:
    """What one answer says; `more` is set where the meter has another one."""

    header: Header
    records: tuple[Record, ...]
    more: bool = False


def telegram(ci: int, data: bytes) -> Telegram:
    """The header and the records after a CI field. Raises FrameError where they do not fit the data."""
    if ci == 0x72:
        if len(data) < 12:
            raise FrameError("variable data without a whole header")
        records, more = _Reader(data[12:]).records()
        return Telegram(_header(data), records, more)
    if ci == 0x73:
        return _fixed(data)
    if ci == 0x78:
        records, more = _Reader(data).records()
        return Telegram(Header("", "", 0, 0, 0, 0), records, more)
    raise FrameError(f"CI field {ci:#04x} is not known here")


def _header(data: bytes) -> Header:
    maker = int.from_bytes(data[4:6], "little")
    letters = "".join(chr(64 + (maker >> shift & 0x1F)) for shift in (10, 5, 0))
    return Header(data[3::-1].hex(), letters, data[6], data[7], data[8], data[9])


def _fixed(data: bytes) -> Telegram:
    if len(data) != 16:
        raise FrameError(f"fixed data has 16 bytes, not {len(data)}")
    status = data[5]
    units = (data[6] & 0x3F, data[7] & 0x3F)
    medium = data[6] >> 6 | data[7] >> 4 & 0x0C
    header = Header(data[3::-1].hex(), "", 0, medium, data[4], status)
    records = []
    for index, unit in enumerate(units):
        raw = data[8 + 4 * index : 12 + 4 * index]
        past = unit == 0x3E  # the unit of the first counter, at a date in the past
        meaning = FIXED.get(units[0] if past else unit, UNKNOWN)
        number: int | float | None = int.from_bytes(raw, "little") if status & 0x80 else bcd(raw)
        records.append(
            Record(
                meaning.quantity, meaning.unit, _scaled(number, meaning.factor), storage=int(past)
            )
        )
    return Telegram(header, tuple(records))


class _Reader:
    """Walks the bytes of variable data once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise FrameError("a record ends before its data")
        self._at += count
        return taken

    def _byte(self) -> int:
        return self._take(1)[0]

    def _extensions(self, first: int) -> list[int]:
        found = []
        byte = first
        while byte & 0x80:
            byte = self._byte()
            found.append(byte)
            if len(found) > 10:
                raise FrameError("more than 10 extensions of one field")
        return found

    def records(self) -> tuple[tuple[Record, ...], bool]:
        """All records, and whether more follow in another answer."""
        records = []
        while self._at < len(self._data):
            dif = self._byte()
            if dif == _FILLER:
                continue
            if dif in (_MANUFACTURER, _MORE):
                rest = self._data[self._at :]
                records.append(Record(MANUFACTURER.quantity, "", rest.hex(" ").upper()))
                return tuple(records), dif == _MORE
            records.append(self._record(dif))
        return tuple(records), False

    def _record(self, dif: int) -> Record:
        storage, tariff, subunit = dif >> 6 & 1, 0, 0
        for n, dife in enumerate(self._extensions(dif)):
            storage |= (dife & 0x0F) << (1 + 4 * n)
            tariff |= (dife >> 4 & 3) << (2 * n)
            subunit |= (dife >> 6 & 1) << n
        meaning, modifiers = self._meaning()
        value = self._value(dif & 0x0F, meaning)
        return Record(
            meaning.quantity, meaning.unit, value, dif >> 4 & 3, storage, tariff, subunit, modifiers
        )

    def _meaning(self) -> tuple[Meaning, tuple[int, ...]]:
        vif = self._byte()
        if vif & 0x7F == 0x7C:  # the unit as text, before the extensions
            text = self._take(self._byte())[::-1].decode("latin-1")
            return _combined(Meaning(text, ""), self._extensions(vif))
        extensions = self._extensions(vif)
        if vif in (0xFB, 0xFD):
            code = (0x200 if vif == 0xFB else 0x100) + (extensions.pop(0) & 0x7F)
            meaning = TABLE.get(code, UNKNOWN)
        elif vif & 0x7F == 0x7F:
            return MANUFACTURER, tuple(extensions)
        else:
            meaning = TABLE.get(vif & 0x7F, UNKNOWN)
        return _combined(meaning, extensions)

    def _value(self, kind: int, meaning: Meaning) -> Value:
        if kind == _VARIABLE:
            return self._variable(meaning)
        if kind not in _LENGTHS:
            raise FrameError(f"data field {kind:#x} is reserved")
        raw = self._take(_LENGTHS[kind])
        if not raw:
            return None
        if kind == _FLOAT:
            (number,) = struct.unpack("<f", raw)
            return _scaled(number, meaning.factor) if math.isfinite(number) else None
        if kind in _BCD:
            return _scaled(bcd(raw), meaning.factor)
        if meaning.quantity == DATE and len(raw) == 2:
            return date(int.from_bytes(raw, "little"))
        if meaning.quantity in (DATE, DATE_TIME):
            return date_time(raw)
        return _scaled(int.from_bytes(raw, "little", signed=True), meaning.factor)

    def _variable(self, meaning: Meaning) -> Value:
        length = self._byte()
        if length <= 0xBF:
            return self._take(length)[::-1].decode("latin-1")
        if 0xC0 <= length <= 0xC9 or 0xD0 <= length <= 0xD9:
            number = bcd(self._take(length & 0x0F))
            return _scaled(
                -number if number is not None and length >= 0xD0 else number, meaning.factor
            )
        if 0xE0 <= length <= 0xEF:
            return self._take(length - 0xE0)[::-1].hex(" ").upper()
        if 0xF0 <= length <= 0xF4:
            return self._take(4 * (length - 0xEC))[::-1].hex(" ").upper()
        raise FrameError(f"variable length {length:#04x} is reserved")


def _combined(meaning: Meaning, extensions: list[int]) -> tuple[Meaning, tuple[int, ...]]:
    """Factors among the VIF extensions are worked in; the others change the sense of the record and are kept."""
    kept = []
    for extension in extensions:
        code = extension & 0x7F
        if 0x70 <= code <= 0x77:
            meaning = replace(meaning, factor=meaning.factor * Fraction(10) ** (code - 0x76))
        elif code == 0x7D:
            meaning = replace(meaning, factor=meaning.factor * 1000)
        else:
            kept.append(code)
    return meaning, tuple(kept)


def _scaled(number: float | int | None, factor: Fraction) -> float | int | None:
    """number × factor, rounded once; a whole result of a whole number stays whole."""
    if number is None:
        return None
    if isinstance(number, float):
        return number * factor.numerator / factor.denominator
    exact = number * factor
    return int(exact) if exact.denominator == 1 else exact.numerator / exact.denominator


def bcd(raw: bytes) -> int | None:
    """Little-endian decimal digits; F in the highest place is a minus; None where a digit is none."""
    digits = raw[::-1].hex()
    sign = -1 if digits.startswith("f") else 1
    digits = digits[1:] if sign < 0 else digits
    return sign * int(digits) if digits.isdecimal() else None


def date(word: int) -> str | None:
    """Type G: a day as YYYY-MM-DD, with 00 for "every"; None where all bits are set."""
    if word == 0xFFFF:
        return None
    year = word >> 5 & 0x07 | word >> 9 & 0x78
    return f"{(1900 if year > 80 else 2000) + year:04d}-{word >> 8 & 0x0F:02d}-{word & 0x1F:02d}"


def date_time(raw: bytes) -> str | None:
    """Type F (4 bytes) and type I (6 bytes) as YYYY-MM-DDThh:mm in the meter's own time; None where marked invalid."""
    if len(raw) not in (4, 6):
        return None
    minutes = raw[1:3] if len(raw) == 6 else raw[0:2]
    if minutes[0] & 0x80:
        return None
    day = date(int.from_bytes(raw[3:5] if len(raw) == 6 else raw[2:4], "little"))
    return day and f"{day}T{minutes[1] & 0x1F:02d}:{minutes[0] & 0x3F:02d}"
