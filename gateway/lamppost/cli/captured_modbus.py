"""Captured registers: dumps in blocks, answers on the wire (RTU), single values in some word order, SunSpec chains."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lamppost.cli.captured_row import (
    Decoded,
    Refused,
    Row,
    data_of,
    table_of,
    text_of,
    unhex,
    whole,
)
from lamppost_drivers.checksum import crc16_arc
from lamppost_drivers.contract import Driver, FrameError, Point, Register, RegisterMap
from lamppost_drivers.electricity import sunspec as walker
from lamppost_drivers.electricity.sunspec_models import INVERTERS, METERS, WEATHERS
from lamppost_drivers.electricity.sunspec_settings import settings_of
from lamppost_drivers.registermap import TEXT, TYPES, decode, words_of
from lamppost_drivers.selftest import discovered

Find = Callable[[str], Driver]
Blocks = dict[int, Sequence[int]]
_ORDERS: Mapping[str, str] = {
    "AB": "big", "BA": "BADC", "ABCD": "big", "CDAB": "little", "BADC": "BADC", "DCBA": "DCBA",
    "ABCDEFGH": "big", "BADCFEHG": "BADC", "GHEFCDAB": "little",
}  # fmt: skip
_SIZES = {2: "16", 4: "32", 8: "64"}
_SUNS = (0x5375, 0x6E53)
_EXCEPTION = 0x80
_TABLES: Mapping[bytes, str] = {b"\x03": "holding", b"\x04": "input"}
"""Which table a function reads: the same address of the other one is another quantity."""
_WRITES = (5, 6, 15, 16)


def registers(row: Row, driver: RegisterMap) -> Decoded:
    """A dump (`input_text`), an RTU answer, or plain registers from `aux.start` on, through a map."""
    if driver in walker.DRIVERS:
        return _walked(dump(row), driver)
    blocks = dump(row) if "input_text" in row else _wired(row, driver)
    if driver.discover:
        driver = discovered(driver.discover(), blocks)
    function = _request(row)[1:2] or (data_of(row)[1:2] if _framed(row) else b"")
    table = _TABLES.get(function)
    places = tuple(r for r in driver.registers if table in (None, r.table))
    values = decode(places, blocks)
    said = {str(start): [f"{word:04x}" for word in words] for start, words in blocks.items()}
    raw: dict[str, Any] = {"registers": said}
    if not values:
        raw["unnamed"] = _unnamed(driver, blocks)
    return Decoded(driver.points, values, raw)


def _unnamed(driver: RegisterMap, blocks: Blocks) -> dict[str, Any]:
    """Numbers in registers that no point names, by address, in a meter that writes all its numbers in one way."""
    kinds = {(r.type, r.word_order) for r in driver.registers if r.type != TEXT}
    if len(kinds) != 1:
        return {}
    ((type_, order),) = kinds
    width = words_of(type_)
    places = [
        Register(Point(str(at), "/", -1e300, 1e300), at, type_, "holding", order, width)
        for start, words in blocks.items()
        for at in range(start, start + len(words) - width + 1, width)
    ]
    return dict(decode(places, blocks))


def framing(row: Row, find: Find) -> Decoded:
    """An RTU answer alone: unit id, function, and registers or bits."""
    del find
    return Decoded((), {}, _answer(data_of(row), _request(row)))


def conversion(row: Row, find: Find) -> Decoded:
    """One value: `aux` has data_type, byte_order and scale."""
    del find
    aux, words = table_of(row, "aux"), _words(data_of(row))
    kind, order = str(aux.get("data_type")), str(aux.get("byte_order"))
    size = _SIZES.get(2 * len(words), "")
    plain = {"FIXED": f"int{size}", "UFIXED": f"uint{size}", "INT8L": "int8.low", "INT8H": "int8.high",
             "STRING": TEXT}.get(kind, kind.removesuffix("-IEEE").lower())  # fmt: skip
    if (plain not in TYPES and plain != TEXT) or order not in _ORDERS:
        raise Refused("device.malformed-row", "aux needs a known data_type and byte_order")
    count = words_of(plain, len(words))
    scale = aux.get("scale") or 1.0
    if count != len(words) or isinstance(scale, bool) or not isinstance(scale, int | float):
        raise FrameError(f"{plain} takes {count} registers, {len(words)} came")
    point = Point("value", "/", -1e300, 1e300)
    place = Register(point, 0, plain, "holding", _ORDERS[order], count, float(scale))
    return Decoded((point,), decode([place], {0: words}))


def sunspec(row: Row, find: Find) -> Decoded:
    """A device that describes itself: the chain of its models, and the readings of those that are known."""
    del find
    return _walked(dump(row), None)


def _walked(blocks: Blocks, driver: RegisterMap | None) -> Decoded:
    flat = {start + i: word for start, words in blocks.items() for i, word in enumerate(words)}
    bases = [at for at in sorted(flat) if (flat[at], flat.get(at + 1)) == _SUNS][:3]
    walk = walker.walk(bases)
    step = next(walk)
    while True:
        words = [flat[a] for a in range(step.address, step.address + step.count) if a in flat]
        try:
            step = walk.send(words if len(words) == step.count else None)
        except StopIteration as done:
            chain: walker.Chain = done.value
            break
    raw = {
        "base": chain.base,
        "models": [[b.model, b.address, b.length] for b in chain.blocks],
        "identity": dict(chain.identity),
    }
    models = {block.model for block in chain.blocks}
    raw["settings"] = settings_of(chain, blocks)
    known = next((found for found in (METERS, INVERTERS, WEATHERS) if models & found.keys()), None)
    if known is None:
        return Decoded((), {}, raw)
    frame = driver or RegisterMap("sunspec", (), walker.DRIVERS[0].documentation, ())
    found = discovered(walker.discover(frame, known, (chain.base,)), blocks)
    return Decoded(found.points, decode(found.registers, blocks), raw)


def dump(row: Row) -> Blocks:
    """The blocks of registers that a row holds: JSON in `input_text`, or plain registers from `aux.start` on."""
    try:
        document = json.loads(text_of(row)) if "input_text" in row else None
    except (ValueError, RecursionError):
        raise Refused("device.malformed-row", "input_text is not JSON") from None
    if document is None:
        start = whole(table_of(row, "aux").get("start", 0), "aux.start")
        return {start: _words(data_of(row))}
    rows = document.get("blocks") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(block, dict) for block in rows):
        raise Refused("device.malformed-row", "input_text needs blocks = [{start, registers_hex}]")
    return {
        whole(block.get("start"), "start"): _words(
            unhex(block.get("registers_hex"), "registers_hex")
        )
        for block in rows
    }


def _wired(row: Row, driver: RegisterMap) -> Blocks:
    """Registers of an RTU answer, or the registers alone; where they begin is in the request or `aux.start`."""
    data, request = data_of(row), _request(row)
    aux = table_of(row, "aux")
    framed = _framed(row)
    if not framed and len(data) > 4 and _sound(data):
        raise Refused("device.no-reading", "a Modbus request, or an answer without registers")
    words = _words(_payload(row, data, request)) if framed else _words(data)
    if request:
        return {int.from_bytes(request[2:4]): words}
    if "start" in aux:
        return {whole(aux["start"], "aux.start"): words}
    first = min((r.address for r in driver.registers), default=0)
    last = max((r.address + r.words for r in driver.registers), default=0)
    if len(words) != last - first:
        why = "an answer does not say its address: give the request (aux.request_hex) or aux.start"
        raise Refused("device.no-address", why)
    return {first: words}


def _framed(row: Row) -> bool:
    """Whether these bytes are an answer with registers, with its check or (as in some manuals) without."""
    if "input_hex" not in row:
        return False
    data = data_of(row)
    if len(data) < 5 or data[1:2] not in _TABLES:
        return False
    return (data[2] == len(data) - 5 and _sound(data)) or _unchecked(row, data)


def _unchecked(row: Row, data: bytes) -> bool:
    """Whether the row says that its check is left out, and the length agrees. A damaged count must not pass for it."""
    return "without its crc" in str(row.get("input_kind")).lower() and data[2] == len(data) - 3


def _request(row: Row) -> bytes:
    given = row.get("request_hex") or table_of(row, "aux").get("request_hex") or ""
    request = unhex(given, "request_hex")
    if request and len(request) < 6:
        raise Refused("device.malformed-row", "request_hex is shorter than a request")
    return request


def _payload(row: Row, data: bytes, request: bytes) -> bytes:
    """The registers of an answer; manuals print some without their check."""
    body = data if _unchecked(row, data) else _checked(data)
    if request and body[:2] != request[:2]:
        raise FrameError("the answer is of another unit or function than the request")
    return body[3:]


def _checked(data: bytes) -> bytes:
    if len(data) < 4 or not _sound(data):
        raise FrameError("wrong CRC")
    return data[:-2]


def _sound(data: bytes) -> bool:
    return crc16_arc(data[:-2], 0xFFFF) == int.from_bytes(data[-2:], "little")


def _answer(data: bytes, request: bytes) -> dict[str, Any]:
    body = _checked(data)
    if request and (body[0] != request[0] or body[1] & ~_EXCEPTION != request[1]):
        raise FrameError("the answer is of another unit or function than the request")
    said: dict[str, Any] = {"unit": body[0], "function": body[1] & ~_EXCEPTION}
    if body[1] & _EXCEPTION:
        raise FrameError(f"the device refused: exception {body[2] if len(body) > 2 else 0}")
    if body[1] in (1, 2, 3, 4):
        _counted(body, request)
        key = "bits_hex" if body[1] < 3 else "registers_hex"
        return {**said, key: body[3:].hex()}
    if body[1] in _WRITES and (len(body) != 6 or (request and body != request[:6])):
        raise FrameError("the answer does not repeat what was written")
    return {**said, "data_hex": body[2:].hex()}


def _counted(body: bytes, request: bytes) -> None:
    """Raises FrameError where the length of an answer does not fit itself, or what was asked for."""
    if len(body) < 3 or body[2] != len(body) - 3 or not body[2]:
        raise FrameError("the answer's count does not fit its length")
    asked = int.from_bytes(request[4:6])
    if request and body[2] != ((asked + 7) // 8 if body[1] < 3 else 2 * asked):
        raise FrameError(f"{body[2]} bytes came, another number was asked for")


def _words(data: bytes) -> tuple[int, ...]:
    if not data or len(data) % 2:
        raise FrameError(f"{len(data)} bytes are no whole registers")
    return struct.unpack(f">{len(data) // 2}H", data)
