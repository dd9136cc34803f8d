"""A sample as bytes, and back: what the ring keeps as an opaque payload. Pure and stateless.

Layout (little-endian; every payload stands for itself)::

    u8 form (1) · u8 column kind · u16 length of the heading · i64 CLOCK_BOOTTIME in ns
    heading   msgpack [boot, device, [shared, rest, shared, rest …]]: names share their start with the one before;
              the boot id is 16 bytes where it is a plain UUID, else text
    readings  kind 0: msgpack [[value …], marks] · kind 1: float32 column · kind 2: float64 column
    marks     after a column, msgpack [index, severity, reason …], absent where every quality is good

A value comes back with the type that it had. A column is float32 only where that loses nothing, which is what
meters with 32-bit registers send. The heading is the same for every sample of a device in one boot and is
remembered in both directions; that saves time only, never bytes. There is one way to write a sample: reading
back anything that would not be written so is refused.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from lamppost.model import GOOD, Instant, Quality, Reading, Sample, Scalar, Severity

_FORM = 1
_MIXED, _FLOAT32, _FLOAT64 = 0, 1, 2
_HEAD = struct.Struct("<BBHq")
_BIG = 1  # msgpack extension: an integer of more than 64 bits, two's complement, little-endian
_ALLOWED = frozenset({float, int, bool, str, type(None)})
_encode = msgspec.msgpack.Encoder().encode


class Columns(NamedTuple):
    """A payload taken apart, without an object a reading. `marks` is index, severity, reason of those not good."""

    boot: str
    ns: int
    device: str
    names: tuple[str, ...]
    values: Sequence[Scalar | None]
    marks: Sequence[Any]


def pack(sample: Sample) -> bytes:
    """The payload of a sample.

    Raises ValueError where it cannot be kept: a value of a foreign type, a heading past 64 KiB.
    """
    readings = sample.readings
    heading = _heading(sample.at.boot, sample.device, tuple([r.point for r in readings]))
    marks: list[object] = []
    if [r.quality for r in readings].count(GOOD) < len(readings):
        marks = _marks(readings)
    kind, body = _column([r.value for r in readings], marks)
    try:
        return _HEAD.pack(_FORM, kind, len(heading), sample.at.ns) + heading + body
    except struct.error as problem:
        raise ValueError(f"sample of {sample.device} does not fit: {problem}") from None


def unpack(payload: bytes) -> Sample:
    """The sample of a payload. Raises ValueError on anything that `pack` would not have written."""
    try:
        sample = _read(payload)
        written = pack(sample)
    except (msgspec.MsgspecError, struct.error, TypeError, IndexError, RecursionError) as problem:
        raise ValueError(f"not a packed sample: {problem}") from None
    if written != payload:
        raise ValueError("not a packed sample: written in another way than ours")
    return sample


def read(payload: bytes) -> Sample:
    """The sample of a payload that `pack` wrote, half the cost of `unpack`: it is not written again to compare.

    For bytes that a checksum has vouched for. Raises ValueError for what is no packed sample.
    """
    try:
        return _read(payload)
    except (msgspec.MsgspecError, struct.error, TypeError, IndexError, RecursionError) as problem:
        raise ValueError(f"not a packed sample: {problem}") from None


def columns(payload: bytes) -> Columns:
    """The columns of a payload that `pack` wrote, a third of the cost of `unpack`; it is not written again to compare.

    Raises ValueError for what is no packed sample.
    """
    try:
        return _columns(payload)
    except (msgspec.MsgspecError, struct.error, TypeError, IndexError, RecursionError) as problem:
        raise ValueError(f"not a packed sample: {problem}") from None


def _read(payload: bytes) -> Sample:
    boot, ns, device, names, values, marks = _columns(payload)
    qualities = [GOOD] * len(names)
    for index, severity, reason in zip(marks[::3], marks[1::3], marks[2::3], strict=True):
        qualities[index] = Quality(Severity(severity), _text(reason))
    readings = tuple(map(Reading, names, values, qualities))
    return Sample(device, Instant(boot, ns), readings)


def _columns(payload: bytes) -> Columns:
    form, kind, length, ns = _HEAD.unpack_from(payload)
    if form != _FORM:
        raise ValueError(f"not a packed sample: form {form} is unknown")
    start = _HEAD.size + length
    boot, device, names = _named(payload[_HEAD.size : start])
    values: Sequence[Scalar | None]
    if kind == _MIXED:
        values, marks = _decode(payload[start:])
    elif kind in (_FLOAT32, _FLOAT64):
        column = _layout(len(names), "f" if kind == _FLOAT32 else "d")
        values = column.unpack_from(payload, start)
        rest = payload[start + column.size :]
        marks = _decode(rest) if rest else []
    else:
        raise ValueError(f"not a packed sample: column kind {kind} is unknown")
    if len(values) != len(names):
        raise ValueError("not a packed sample: values and names differ in number")
    return Columns(boot, ns, device, names, values, marks)


def _marks(readings: tuple[Reading, ...]) -> list[object]:
    marks: list[object] = []
    for index, reading in enumerate(readings):
        if reading.quality != GOOD:
            marks += (index, int(reading.quality.severity), reading.quality.reason)
    return marks


def _column(values: list[Scalar | None], marks: list[object]) -> tuple[int, bytes]:
    types = list(map(type, values))
    if values and types.count(float) == len(types):
        tail = _encode(marks) if marks else b""
        narrow = _narrow(values)
        if narrow is not None:
            return _FLOAT32, narrow + tail
        return _FLOAT64, _layout(len(values), "d").pack(*values) + tail
    kinds = set(types)
    if not kinds <= _ALLOWED:
        raise ValueError(f"values of {sorted(k.__name__ for k in kinds - _ALLOWED)} cannot be kept")
    try:
        return _MIXED, _encode([values, marks])
    except OverflowError:
        return _MIXED, _encode([[_shrunk(v) for v in values], marks])


def _narrow(values: list[Scalar | None]) -> bytes | None:
    """The values as float32, or None where one of them would change (NaN counts as changed: its bits are kept)."""
    column = _layout(len(values), "f")
    try:
        packed = column.pack(*values)
    except OverflowError:
        return None
    return packed if column.unpack(packed) == tuple(values) else None


@lru_cache(maxsize=256)
def _layout(length: int, kind: str) -> struct.Struct:
    """A column of `length` numbers: "f" float32, "d" float64."""
    return struct.Struct(f"<{length}{kind}")


def _shrunk(value: Scalar | None) -> object:
    if type(value) is int and not -(2**63) <= value < 2**64:
        size = value.bit_length() // 8 + 1
        return msgspec.msgpack.Ext(_BIG, value.to_bytes(size, "little", signed=True))
    return value


def _grown(code: int, content: memoryview) -> int:
    if code != _BIG:
        raise ValueError(f"not a packed sample: extension {code} is unknown")
    return int.from_bytes(content, "little", signed=True)


_decode: Any = msgspec.msgpack.Decoder(ext_hook=_grown).decode


@lru_cache(maxsize=1024)
def _heading(boot: str, device: str, names: tuple[str, ...]) -> bytes:
    shared: list[object] = []
    before = ""
    for name in names:
        same = _shared(before, name)
        shared += (same, name[same:])
        before = name
    return _encode([_short(boot), device, shared])


def _shared(before: str, name: str) -> int:
    """How many characters the two begin with in common."""
    for same, (one, other) in enumerate(zip(before, name, strict=False)):
        if one != other:
            return same
    return min(len(before), len(name))


@lru_cache(maxsize=1024)
def _named(heading: bytes) -> tuple[str, str, tuple[str, ...]]:
    boot, device, shared = _decode(heading)
    names: list[str] = []
    before = ""
    for same, rest in zip(shared[::2], shared[1::2], strict=True):
        before = before[:same] + _text(rest)
        names.append(before)
    text = str(uuid.UUID(bytes=boot)) if isinstance(boot, bytes) else _text(boot)
    return text, _text(device), tuple(names)


def _short(boot: str) -> bytes | str:
    try:
        plain = uuid.UUID(boot)
    except ValueError:
        return boot
    return plain.bytes if str(plain) == boot else boot


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("not a packed sample: a name is no text")
    return value
