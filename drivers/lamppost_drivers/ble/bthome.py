"""BTHome v2 advertisements, plain and encrypted (bthome.io, format version 2): service data of UUID FCD2.

The n-th object of one kind in an advertisement is a point of its own, up to the fourth: temperature, temperature.2.
"""

from __future__ import annotations

from lamppost_drivers.ble.bthome_objects import OBJECTS, RAW, STATES, TEXT
from lamppost_drivers.contract import (
    Absent,
    Advertisement,
    BroadcastDriver,
    Documentation,
    FrameError,
    Point,
    Scalar,
    Values,
    Vector,
)
from lamppost_drivers.decrypt import aes_ccm

UUID = "0000fcd2-0000-1000-8000-00805f9b34fb"
_ENCRYPTED, _WITH_ADDRESS, _VERSION = 0x01, 0x02, 2
_SHORT_ID = b"\xd2\xfc"


def matches(advertisement: Advertisement) -> bool:
    """Whether there is BTHome service data of version 2."""
    payload = advertisement.service.get(UUID, b"")
    return bool(payload) and payload[0] >> 5 == _VERSION


def decode(advertisement: Advertisement, key: bytes) -> Values:
    """Values of an advertisement. Raises FrameError where it is not sound, or encrypted and the key does not fit."""
    payload = advertisement.service.get(UUID, b"")
    if len(payload) < 2 or payload[0] >> 5 != _VERSION:
        raise FrameError("no BTHome v2 service data")
    info, body = payload[0], payload[1:]
    address = _address(advertisement.address)
    if info & _WITH_ADDRESS:
        address, body = body[5::-1], body[6:]
    if info & _ENCRYPTED:
        if len(body) < 9 or len(address) != 6:
            raise FrameError("encrypted, but too short or without an address")
        nonce = address + _SHORT_ID + bytes((info,)) + body[-8:-4]
        body = aes_ccm(key, nonce, body[:-8] + body[-4:], 4)
    return objects(body)


def _address(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def objects(body: bytes) -> Values:
    """Values of the objects one after another. An unknown id ends them, for its length is not known."""
    values: dict[str, Scalar | Absent] = {}
    at = 0
    while at < len(body):
        id_ = body[at]
        if id_ in (TEXT, RAW):
            length = body[at + 1] if at + 1 < len(body) else 0
            piece, at = body[at + 2 : at + 2 + length], at + 2 + length
            _keep(values, "text" if id_ == TEXT else "raw", _text(id_, piece))
        elif id_ in OBJECTS:
            size = OBJECTS[id_].size
            piece, at = body[at + 1 : at + 1 + size], at + 1 + size
            if at <= len(body):
                _keep_number(values, id_, piece)
        else:
            break
        if at > len(body):
            raise FrameError(f"object {id_:#04x} ends before its data")
    if not values:
        raise FrameError("no object that is known here")
    return values


def _keep_number(values: dict[str, Scalar | Absent], id_: int, piece: bytes) -> None:
    known = OBJECTS[id_]
    if known.point is None:
        return
    raw = int.from_bytes(piece, "little", signed=known.signed)
    if id_ in STATES:
        _keep(values, known.point.name, raw != 0)
    elif known.divisor > 1:
        _keep(values, known.point.name, raw / known.divisor)
    else:
        _keep(values, known.point.name, raw if known.factor == 1 else raw * known.factor)


def _text(id_: int, piece: bytes) -> str:
    return piece.decode("utf-8", "replace") if id_ == TEXT else piece.hex()


def _keep(values: dict[str, Scalar | Absent], name: str, value: Scalar) -> None:
    count = 1
    numbered = name
    while numbered in values:
        count += 1
        numbered = f"{name}.{count}"
    if numbered in _DECLARED:
        values[numbered] = value


def _points() -> tuple[Point, ...]:
    named: dict[str, Point] = {}
    for known in OBJECTS.values():
        if known.point is not None:
            named.setdefault(known.point.name, known.point)
    for name in ("temperature", "humidity", "count", "power", "voltage", "current", "button"):
        point = named[name]
        for number in (2, 3, 4):
            named[f"{name}.{number}"] = Point(
                f"{name}.{number}", point.unit, point.low, point.high, point.kind
            )
    return (*named.values(), Point("text", "", 0, 0), Point("raw", "", 0, 0))


_POINTS = _points()
_DECLARED = frozenset(point.name for point in _POINTS)


def _vector(note: str, expect: Values | None, payload: str, key: str = "") -> Vector:
    advertisement = Advertisement("54:48:E6:8F:80:A5", service={UUID: bytes.fromhex(payload)})
    return Vector(note, expect, advertisement=advertisement, key=bytes.fromhex(key))


DRIVERS = (
    BroadcastDriver(
        model="bthome-v2",
        points=_POINTS,
        matches=matches,
        decode=decode,
        documentation=Documentation(
            (
                "Shelly BLU H&T, Door/Window, Motion, Button",
                "b-parasite",
                "pvvx firmware",
                "any BTHome v2 sensor",
            ),
            "BTHome format version 2",
            ("Encrypted sensors need their bind key of 16 bytes.",),
        ),
        vectors=(
            _vector(
                "hand-encoded",
                {"packet_id": 9, "battery": 97, "temperature": -12.5, "humidity": 81.0},
                "40000901 61 021efb 03a41f",
            ),
            _vector(
                "two sensors of one kind",
                {"temperature": 21.5, "temperature.2": 4.0},
                "4045d700452800",
            ),
            _vector("an object cut off", None, "400216"),
            _vector(
                "encrypted with key 00..0F, made with another AES-CCM",
                {"temperature": 20.57, "humidity": 51.73},
                "41eae92fe72ae501000000aa576a44",
                "000102030405060708090a0b0c0d0e0f",
            ),
            _vector("encrypted, wrong key", None, "41eae92fe72ae501000000aa576a44", "00" * 16),
            _vector("encrypted, no key", None, "41a47266c95f730011223378237214"),
        ),
    ),
)
