"""Deterministic CBOR (RFC 8949 §4.2.1), of which only what COSE needs: the strict reader and the writer.

Known kinds: integers of 64 bits, byte and text strings, arrays, maps keyed by integers or strings, null, and one tag
around the whole. A walk over the heads bounds nesting and the number of items and demands the order of keys, before
any object is made; then cbor2 decodes; then the value is written again and must give the same bytes.

Why not cbor2's `canonical=True`: it sorts keys by length first (RFC 7049), COSE wants bytewise order (RFC 8949).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import cbor2

from lamppost.envelope.refusal import EnvelopeError

MAX = 1 << 20
"""Bytes of the largest message, which is the broker's max_packet_size too."""
MAX_DEPTH = 8
MAX_ITEMS = 512
"""Items in one message; an envelope has 28, a receipt of the largest possible log 90."""

Value: TypeAlias = Any
"""int, bytes, str, None, list, dict of these, or CBORTag around one."""

_NULL = 0xF6
_BYTES, _TEXT, _ARRAY, _MAP, _TAG = 2, 3, 4, 5, 6


def encode(value: Value) -> bytes:
    """Write `value` deterministically. Raises TypeError for another kind, ValueError for an integer past 64 bits."""
    if type(value) is cbor2.CBORTag:
        return _head(_TAG, value.tag) + cbor2.dumps(_ordered(value.value))
    return cbor2.dumps(_ordered(value))


def decode(data: bytes, limit: int = MAX) -> Value:
    """Read one deterministic item that fills `data`.

    Raises EnvelopeError `envelope.too-big` past `limit` bytes, `envelope.malformed` for everything else.
    """
    if len(data) > limit:
        raise EnvelopeError("envelope.too-big", f"{len(data)} bytes, the limit is {limit}")
    tag, start = _outer_tag(data)
    _walk(data, start)
    try:
        value = cbor2.loads(data[start:] if start else data)
        # Keys are in order (the walk has seen to that) and keep it; lengths, heads and duplicates show here.
        again = cbor2.dumps(value)
    except cbor2.CBORError as error:
        raise malformed("not CBOR") from error
    if tag is None:
        same = again == data
    else:
        same = _head(_TAG, tag) == data[:start] and again == data[start:]
        value = cbor2.CBORTag(tag, value)
    if not same:
        raise malformed("not deterministic CBOR")
    return value


def tagged(data: bytes, tag: int, length: int) -> list[Value]:
    """The array of `length` items inside `tag` that fills `data`; EnvelopeError as `decode`."""
    value = decode(data)
    if type(value) is not cbor2.CBORTag or value.tag != tag:
        raise malformed(f"not CBOR tag {tag}")
    if type(value.value) is not list or len(value.value) != length:
        raise malformed(f"tag {tag} does not hold an array of {length}")
    return value.value


def tag_around(tag: int, value: Value) -> bytes:
    """Write `value` inside `tag`."""
    return encode(cbor2.CBORTag(tag, value))


def malformed(why: str) -> EnvelopeError:
    """The refusal of bytes that are not the message's one possible form."""
    return EnvelopeError("envelope.malformed", why)


def _ordered(value: Value) -> Value:
    # Exact types: True == 1 and CBORSimpleValue(4) == 4 in Python, and bool is an int.
    kind = type(value)
    if kind is int:
        if not -(1 << 64) <= value < 1 << 64:
            raise ValueError("integer of more than 64 bits")
        return value
    if value is None or kind is bytes or kind is str:
        return value
    if kind is list or kind is tuple:
        return [_ordered(item) for item in value]
    if isinstance(value, Mapping):
        if not all(type(key) in (int, bytes, str) for key in value):
            raise TypeError("a map key is neither integer nor string")
        keys = sorted(value, key=cbor2.dumps)
        return {_ordered(key): _ordered(value[key]) for key in keys}
    raise TypeError(f"no CBOR of ours: {kind.__name__}")


def _head(major: int, number: int) -> bytes:
    # A head has the form of the unsigned integer with the same number, but for its upper three bits.
    head = cbor2.dumps(number)
    return bytes((major << 5 | head[0],)) + head[1:]


def _outer_tag(data: bytes) -> tuple[int | None, int]:
    if not data or data[0] >> 5 != _TAG:
        return None, 0
    return _argument(data, 0)


def _argument(data: bytes, position: int) -> tuple[int, int]:
    """The number in the head at `position`, and where the head ends."""
    low = data[position] & 31
    position += 1
    if low < 24:
        return low, position
    if low > 27:
        raise malformed("indefinite length or reserved head")
    end = position + (1 << low - 24)
    if end > len(data):
        raise malformed("ends inside a head")
    return int.from_bytes(data[position:end], "big"), end


def _item(data: bytes, position: int) -> tuple[int, int, int]:
    """Major type and number of the item at `position`, and where its head (of strings: the whole) ends."""
    major = data[position] >> 5
    if major >= _TAG:
        if data[position] != _NULL:
            raise malformed("an inner tag, a float or a simple value")
        return major, 0, position + 1
    number, position = _argument(data, position)
    if major in (_BYTES, _TEXT):
        if number > len(data) - position:
            raise malformed("ends inside a string")
        position += number
    return major, number, position


def _walk(data: bytes, position: int) -> None:
    """Refuse what would nest, grow or be of another kind, and maps out of order, without making an object of it."""
    pending = [1]  # items still to come, of every open container
    maps: list[bytes | None] = [None]  # the last key of every open map, None for an array
    items = 0
    size = len(data)
    while pending:
        left = pending[-1]
        if not left:
            pending.pop()
            maps.pop()
            continue
        pending[-1] = left - 1
        items += 1
        if items > MAX_ITEMS or position >= size:
            raise malformed(
                "ends too early" if position >= size else f"more than {MAX_ITEMS} items"
            )
        begin = position
        major, number, position = _item(data, position)
        last = maps[-1]
        if last is not None and not left & 1:
            if major > _TEXT or not last < data[begin:position]:
                raise malformed("a map key of another kind, twice or out of order")
            maps[-1] = data[begin:position]
        if major in (_ARRAY, _MAP):
            if len(pending) > MAX_DEPTH:
                raise malformed(f"nested deeper than {MAX_DEPTH}")
            pending.append(number if major == _ARRAY else 2 * number)
            maps.append(None if major == _ARRAY else b"")
    if position != size:
        raise malformed("trailing bytes")
