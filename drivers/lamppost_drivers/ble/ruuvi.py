"""RuuviTag and Ruuvi Air: data formats 3, 5, 6 and E1 in the manufacturer data of company 0499h (docs.ruuvi.com)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from lamppost_drivers.contract import (
    Absent,
    Advertisement,
    BroadcastDriver,
    Documentation,
    FrameError,
    Kind,
    Point,
    Scalar,
    Values,
    Vector,
)

COMPANY = 0x0499
GRAVITY = 9.80665
NONE = Absent.NOT_AVAILABLE
_POINTS = (
    Point("temperature", "Cel", -40, 85),
    Point("humidity", "%RH", 0, 100),
    Point("pressure", "Pa", 50_000, 115_500),
    *(Point(f"acceleration.{axis}", "m/s2", -160, 160) for axis in "xyz"),
    Point("battery.voltage", "V", 1.6, 3.65),
    Point("movement", "/", 0, 254),
    *(Point(name, "ug/m3", 0, 1000) for name in ("pm1", "pm25", "pm4", "pm10")),
    Point("co2", "ppm", 300, 40_000),
    Point("voc_index", "/", 0, 500),
    Point("nox_index", "/", 0, 500),
    Point("illuminance", "lx", 0, 144_284),
    Point("sound.average", "dBA", 18, 120),
    Point("calibrating", "/", 0, 1),
    Point("sequence", "/", 0, 16_777_215, Kind.GAUGE),
)


def _or_none(raw: int, missing: int, value: Scalar) -> Scalar | Absent:
    return NONE if raw == missing else value


def _climate(data: bytes) -> dict[str, Scalar | Absent]:
    """Temperature, humidity and pressure as formats 5, 6 and E1 share them."""
    t, h, p = struct.unpack_from(">hHH", data, 1)
    return {
        "temperature": _or_none(t, -0x8000, t / 200),
        "humidity": _or_none(h, 0xFFFF, h / 400),
        "pressure": _or_none(p, 0xFFFF, p + 50_000),
    }


def _format3(data: bytes) -> Values:
    humidity, whole, hundredths, pressure, x, y, z, battery = struct.unpack_from(
        ">BBBHhhhH", data, 1
    )
    degrees = (whole & 0x7F) + hundredths / 100
    return {
        "temperature": -degrees if whole & 0x80 else degrees,
        "humidity": humidity / 2,
        "pressure": pressure + 50_000,
        **{
            f"acceleration.{axis}": g * GRAVITY / 1000
            for axis, g in zip("xyz", (x, y, z), strict=True)
        },
        "battery.voltage": battery / 1000,
    }


def _format5(data: bytes) -> Values:
    *axes, power, movement, sequence = struct.unpack_from(">hhhHBH", data, 7)
    moved = -0x8000 not in axes  # a vector with one axis missing is none
    return {
        **_climate(data),
        **{
            f"acceleration.{axis}": g * GRAVITY / 1000 if moved else NONE
            for axis, g in zip("xyz", axes, strict=True)
        },
        "battery.voltage": _or_none(power >> 5, 0x7FF, ((power >> 5) + 1600) / 1000),
        "movement": _or_none(movement, 0xFF, movement),
        "sequence": _or_none(sequence, 0xFFFF, sequence),
    }


def _gases(co2: int, voc: int, nox: int) -> dict[str, Scalar | Absent]:
    return {
        "co2": _or_none(co2, 0xFFFF, co2),
        "voc_index": _or_none(voc, 0x1FF, voc),
        "nox_index": _or_none(nox, 0x1FF, nox),
    }


def _format6(data: bytes) -> Values:
    pm25, co2, voc, nox, light, sound, sequence, flags = struct.unpack_from(">HHBBBBBB", data, 7)
    lux = math.exp(light * math.log(65536) / 254) - 1
    loudness = sound << 1 | flags >> 4 & 1
    return {
        **_climate(data),
        "pm25": _or_none(pm25, 0xFFFF, pm25 / 10),
        **_gases(co2, voc << 1 | flags >> 6 & 1, nox << 1 | flags >> 7 & 1),
        "illuminance": _or_none(light, 0xFF, lux),
        "sound.average": _or_none(loudness, 0x1FF, loudness / 5 + 18),
        "calibrating": bool(flags & 1),
        "sequence": sequence,
    }


def _format_e1(data: bytes) -> Values:
    *masses, co2, voc, nox = struct.unpack_from(">HHHHHBB", data, 7)
    light, sequence = int.from_bytes(data[19:22]), int.from_bytes(data[25:28])
    flags = data[28]
    return {
        **_climate(data),
        **{
            name: _or_none(mass, 0xFFFF, mass / 10)
            for name, mass in zip(("pm1", "pm25", "pm4", "pm10"), masses, strict=True)
        },
        **_gases(co2, voc << 1 | flags >> 6 & 1, nox << 1 | flags >> 7 & 1),
        "illuminance": _or_none(light, 0xFFFFFF, light / 100),
        "calibrating": bool(flags & 1),
        "sequence": _or_none(sequence, 0xFFFFFF, sequence),
    }


# format → (shortest payload, decoder)
_FORMATS: dict[int, tuple[int, Callable[[bytes], Values]]] = {
    0x03: (14, _format3), 0x05: (18, _format5), 0x06: (20, _format6), 0xE1: (40, _format_e1),
}  # fmt: skip


def matches(advertisement: Advertisement) -> bool:
    """Whether there is manufacturer data of a format that is known here."""
    return advertisement.manufacturer.get(COMPANY, b"")[:1] in {
        bytes((known,)) for known in _FORMATS
    }


def decode(advertisement: Advertisement, key: bytes) -> Values:
    """Values of an advertisement; the format has no encryption, the key is not used. Raises FrameError."""
    data = advertisement.manufacturer.get(COMPANY, b"")
    shortest, decoder = _FORMATS.get(data[0] if data else 0, (0, None))
    if decoder is None or len(data) < shortest:
        raise FrameError("not a Ruuvi payload: format or length")
    return decoder(data)


def _vector(note: str, expect: Values | None, payload: str) -> Vector:
    advertisement = Advertisement(
        "CB:B8:33:4C:88:4F", manufacturer={COMPANY: bytes.fromhex(payload)}
    )
    return Vector(note, expect, advertisement=advertisement)


DRIVERS = (
    BroadcastDriver(
        model="ruuvi",
        points=_POINTS,
        matches=matches,
        decode=decode,
        documentation=Documentation(
            ("RuuviTag", "Ruuvi Air"),
            "Ruuvi data formats 3, 5, 6 and E1",
            ("Format E1 needs a scanner for extended advertising.",),
        ),
        vectors=(
            _vector(
                "hand-encoded format 5",
                {
                    "temperature": 24.3,
                    "humidity": 53.49,
                    "pressure": 100044,
                    "battery.voltage": 2.977,
                    "movement": 66,
                },
                "0512fc5394c37c0004fffc040cac364200cdcbb8334c884f",
            ),
            _vector(
                "hand-encoded format 6",
                {
                    "temperature": 21.0,
                    "pm25": 7.5,
                    "co2": 612,
                    "voc_index": 101,
                    "nox_index": Absent.NOT_AVAILABLE,
                },
                "061068 4e20 c5b0 004b 0264 32 ff 80 50 07 c0 4c884f",
            ),
            _vector("unknown format", None, "0912fc5394c37c00"),
            _vector("too short", None, "0512fc5394"),
        ),
    ),
)
