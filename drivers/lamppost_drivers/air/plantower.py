"""Plantower particulate sensors: one frame every 0.2 to 2.3 s, unasked (data manuals of PMS1003 to PMSA003).

Frame: 42 4D, length, 16-bit words big-endian, sum of all bytes before it. While the fan starts, all data are zero.
"""

from __future__ import annotations

import struct
from functools import partial

from lamppost_drivers.checksum import sum16
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    FrameError,
    Point,
    Serial,
    StreamDriver,
    Values,
    Vector,
)
from lamppost_drivers.framing import FixedFraming

MASS = ("pm1.cf1", "pm25.cf1", "pm10.cf1", "pm1", "pm25", "pm10")
COUNTS = ("count.pm03", "count.pm05", "count.pm1", "count.pm25", "count.pm5", "count.pm10")
SIGNED = ("temperature",)
DIVISORS = {"temperature": 10, "humidity": 10} | dict.fromkeys(COUNTS, 100)  # counts are per 0.1 l
POINTS = {
    **{name: Point(name, "ug/m3", 0, 1000) for name in MASS},
    **{name: Point(name, "1/cm3", 0, 656) for name in COUNTS},
    "hcho": Point("hcho", "ug/m3", 0, 2000),  # 0.001 mg/m3 a step
    "temperature": Point("temperature", "Cel", -20, 99),
    "humidity": Point("humidity", "%RH", 0, 99.9),
}


def sound(frame: bytes) -> bool:
    """Whether the last two bytes are the sum of all others."""
    return sum16(frame[:-2]) == int.from_bytes(frame[-2:])


def decode(names: tuple[str, ...], length: int, frame: bytes) -> Values:
    """Values of a whole frame of `length` bytes whose data words are `names` in this order."""
    if len(frame) != length or not sound(frame):
        raise FrameError("not a Plantower frame: length or sum")
    code = "".join("h" if name in SIGNED else "H" for name in names)
    raw = struct.unpack_from(f">{code}", frame, 4)
    if not any(raw):
        return dict.fromkeys(names, Absent.WARMING_UP)
    return {
        name: number / DIVISORS[name] if name in DIVISORS else number
        for name, number in zip(names, raw, strict=True)
    }


def driver(
    model: str, names: tuple[str, ...], length: int, vectors: tuple[Vector, ...]
) -> StreamDriver:
    """A driver of one member of the family: the words it sends, and the length of its frame."""
    return StreamDriver(
        model=model,
        points=tuple(POINTS[name] for name in names),
        serial=Serial(baud=9600),
        framing=FixedFraming(b"\x42\x4d" + (length - 4).to_bytes(2), length, sound),
        decode=partial(decode, names, length),
        period=2.3,
        documentation=Documentation(
            products=(f"Plantower {model.upper()}",),
            source="Plantower digital universal particle concentration sensor data manuals, V2.x",
            caveats=(
                "Members of the family cannot be told apart by their frames: the model must be right.",
                "Give the fan 30 s before the first reading counts.",
                "Points ending in cf1 are for factory calibration dust; use the others outdoors.",
            ),
        ),
        vectors=vectors,
    )


_EXPECT: Values = {
    "pm1.cf1": 11, "pm25.cf1": 17, "pm10.cf1": 21, "pm1": 10, "pm25": 16, "pm10": 20,
    "count.pm03": 24.6, "count.pm05": 7.5, "count.pm1": 1.21, "count.pm25": 0.14, "count.pm5": 0.03,
    "count.pm10": 0.01, "hcho": 31, "temperature": -2.5, "humidity": 80.6,
}  # fmt: skip
_MASS = "000b00110015000a00100014"
_FRAMES = {  # hand-encoded from the data manuals; the number is the length of the frame
    24: f"424d0014{_MASS}0000000000000102",
    32: f"424d001c{_MASS}099c02ee0079000e000300010000032a",
    "T": f"424d001c{_MASS}099c02ee0079000effe7032600000535",
    "S": f"424d001c{_MASS}099c02ee0079000e00030001001f0349",
    40: f"424d0024{_MASS}099c02ee0079000e00030001001fffe70326000000000560",
}
_ZEROS = {24: "00a3", 32: "00ab", 40: "00b3"}


def _vectors(names: tuple[str, ...], length: int, key: int | str) -> tuple[Vector, ...]:
    still = (
        b"\x42\x4d" + (length - 4).to_bytes(2) + bytes(length - 6) + bytes.fromhex(_ZEROS[length])
    )
    good = bytes.fromhex(_FRAMES[key])
    return (
        Vector("hand-encoded from the data manual", {name: _EXPECT[name] for name in names}, good),
        Vector("the fan starts: zeros only", dict.fromkeys(names, Absent.WARMING_UP), still),
        Vector("wrong sum", None, good[:-1] + bytes((good[-1] ^ 1,))),
    )


_MODELS: dict[str, tuple[tuple[str, ...], int, int | str]] = {
    "pms3003": (MASS, 24, 24),
    **dict.fromkeys(("pms1003", "pms5003", "pms7003", "pmsa003"), (MASS + COUNTS, 32, 32)),
    "pms5003t": (MASS + COUNTS[:4] + ("temperature", "humidity"), 32, "T"),
    "pms5003s": (MASS + COUNTS + ("hcho",), 32, "S"),
    "pms5003st": (MASS + COUNTS + ("hcho", "temperature", "humidity"), 40, 40),
}
DRIVERS = tuple(
    driver(model, names, length, _vectors(names, length, key))
    for model, (names, length, key) in _MODELS.items()
)
