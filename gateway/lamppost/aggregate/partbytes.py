"""Parts ↔ bytes: what the coarse ring keeps as an opaque payload. Pure.

One payload holds the points of one device in one window, as columns: a msgpack array

    [1, boot, device, names, start, end, observed, good, uncertain, bad, qualities,
     last, mean, low, high, first, first_at, stand, stand_at, inside]

Times are nanoseconds of the boot. A column of counts or times is one number where all are equal, else an array.
`qualities` are [severity, reason], one where all are equal. Every other column is nil where nothing is there, else
[absent, values]: the indices without a value, and float32 or float64 as bytes after `f` or `d`, or an array. The mean
is float32 where the range loses nothing by that: it is then as exact as the readings that it was made of.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lamppost.aggregate.parts import Part
from lamppost.model import Quality, Severity

_FORM = 1
_encode = msgspec.msgpack.Encoder().encode
_decode: Any = msgspec.msgpack.Decoder().decode


def pack_parts(parts: Sequence[Part]) -> bytes:
    """The payload of the parts of one device in one window. Device, boot, start, end and observed are those of all."""
    head = parts[0]
    low = _column([p.low for p in parts])
    exact = low is not None and isinstance(low[1], bytes) and low[1][:1] == b"f"
    return _encode(
        [
            _FORM,
            head.boot,
            head.device,
            [p.point for p in parts],
            head.start,
            head.end,
            head.observed,
            *(_alike([getattr(p, name) for p in parts]) for name in ("good", "uncertain", "bad")),
            _alike([[int(p.quality.severity), p.quality.reason] for p in parts]),
            _column([p.last for p in parts]),
            _column([p.mean for p in parts], narrow=exact),
            low,
            _column([p.high for p in parts]),
            _column([p.first and p.first[0] for p in parts]),
            _alike([p.first and p.first[1] for p in parts]),
            _column([p.stand and p.stand[0] for p in parts]),
            _alike([p.stand and p.stand[1] for p in parts]),
            _column([p.inside for p in parts]),
        ]
    )


def unpack_parts(payload: bytes) -> list[Part]:
    """What `pack_parts` gave. Raises ValueError for anything else."""
    try:
        form, boot, device, points, start, end, observed, *rest = _decode(payload)
        if form != _FORM:
            raise ValueError(f"parts of form {form}")
        count = len(points)
        good, uncertain, bad, qualities = (_each(c, count) for c in rest[:4])
        last, mean, low, high = (_values(c, count) for c in rest[4:8])
        first, stand = _values(rest[8], count), _values(rest[10], count)
        first_at, stand_at = _each(rest[9], count), _each(rest[11], count)
        inside = _values(rest[12], count)
        return [
            Part(
                device, points[i], boot, start, end, observed,
                Quality(Severity(qualities[i][0]), qualities[i][1]),
                good[i], uncertain[i], bad[i], last[i], mean[i], low[i], high[i],
                None if first[i] is None else (first[i], first_at[i]),
                None if stand[i] is None else (stand[i], stand_at[i]),
                inside[i],
            )
            for i in range(count)
        ]  # fmt: skip
    except (msgspec.MsgspecError, struct.error, TypeError, IndexError, StopIteration) as problem:
        raise ValueError(f"not parts of windows: {problem}") from None


def _alike(values: Sequence[Any]) -> Any:
    """One value where all are equal; a list of lists stays one."""
    return [values[0]] if all(v == values[0] for v in values) else list(values)


def _each(column: list[Any], count: int) -> list[Any]:
    return column * count if len(column) == 1 else column


def _column(values: Sequence[Any], *, narrow: bool = False) -> list[Any] | None:
    absent = [i for i, v in enumerate(values) if v is None]
    there = [_bounded(v) for v in values if v is not None]
    if not there:
        return None
    if any(type(v) is not float for v in there):
        return [absent, there]
    packed = _narrowed(there)
    if packed is None or (not narrow and struct.unpack(f"<{len(there)}f", packed) != tuple(there)):
        return [absent, b"d" + struct.pack(f"<{len(there)}d", *there)]
    return [absent, b"f" + packed]


def _bounded(value: Any) -> Any:
    """An integer of more than 64 bits, which no meter has, as a float."""
    return float(value) if type(value) is int and not -(2**63) <= value < 2**64 else value


def _narrowed(values: Sequence[float]) -> bytes | None:
    try:
        return struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        return None


def _values(column: list[Any] | None, count: int) -> list[Any]:
    if column is None:
        return [None] * count
    absent, packed = column
    there = iter(_floats(packed) if isinstance(packed, bytes) else packed)
    gone = frozenset(absent)
    take: Callable[[], Any] = there.__next__
    return [None if i in gone else take() for i in range(count)]


def _floats(packed: bytes) -> Sequence[float]:
    kind = chr(packed[0])
    if kind not in "fd":
        raise ValueError(f"a column of kind {kind}")
    return struct.unpack(f"<{(len(packed) - 1) // (4 if kind == 'f' else 8)}{kind}", packed[1:])
