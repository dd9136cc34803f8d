"""Ultrasonic distance sensors on UART: MaxBotix ASCII lines and four-byte frames (A02YYUW and its kin).

Sources: MaxBotix HRXL-MaxSonar-WR and XL-MaxSonar-WR data sheets; DFRobot pages of SEN0311 and SEN0627.
"""

from __future__ import annotations

import re
from functools import partial

from lamppost_drivers.checksum import sum8
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
from lamppost_drivers.framing import DelimitedFraming, FixedFraming


def decode_line(digits: int, divisor: int, no_target: int, frame: bytes) -> Values:
    """Distance in metres of a line `Rnnnn CR`; the largest number says that nothing was seen."""
    if not re.fullmatch(rb"R[0-9]{%d}\r" % digits, frame):
        raise FrameError("not a MaxBotix line")
    number = int(frame[1:-1])
    return {"distance": Absent.NOT_AVAILABLE if number >= no_target else number / divisor}


def _maxbotix(
    model: str, products: tuple[str, ...], digits: int, divisor: int, no_target: int, nearest: float
) -> StreamDriver:
    line = re.compile(rb"R[0-9]{%d}\r" % digits)
    good, none = b"R" + b"1342"[4 - digits :] + b"\r", b"R%d\r" % no_target
    return StreamDriver(
        model=model,
        points=(Point("distance", "m", nearest, no_target / divisor),),
        serial=Serial(baud=9600),
        framing=DelimitedFraming(
            b"R", re.compile(rb"\r"), digits + 2, lambda frame: line.fullmatch(frame) is not None
        ),
        decode=partial(decode_line, digits, divisor, no_target),
        period=0.5,
        documentation=Documentation(
            products,
            "MaxBotix MaxSonar-WR data sheets, serial output",
            (
                "Lines carry no check: give the point a tight range.",
                "Models with RS-232 levels are inverted; choose TTL models.",
            ),
        ),
        vectors=(
            Vector("hand-encoded", {"distance": int(good[1:-1]) / divisor}, good),
            Vector("nothing in sight", {"distance": Absent.NOT_AVAILABLE}, none),
            Vector("a letter among the digits", None, good.replace(b"4", b"x")),
        ),
    )


def sound(frame: bytes) -> bool:
    """Whether the last byte is the sum of the others."""
    return sum8(frame[:-1]) == frame[-1]


def decode_binary(divisor: int, nearest: int, frame: bytes) -> Values:
    """Distance in metres of `FF hi lo sum`; below `nearest` units it is too near to be told."""
    if len(frame) != 4 or frame[0] != 0xFF or not sound(frame):
        raise FrameError("not a distance frame: length or sum")
    number = int.from_bytes(frame[1:3])
    return {"distance": Absent.NOT_AVAILABLE if number < nearest else number / divisor}


def _binary(model: str, product: str, divisor: int, nearest: int, farthest: float) -> StreamDriver:
    return StreamDriver(
        model=model,
        points=(Point("distance", "m", nearest / divisor, farthest),),
        serial=Serial(baud=9600),
        framing=FixedFraming(b"\xff", 4, sound),
        decode=partial(decode_binary, divisor, nearest),
        period=0.5,
        documentation=Documentation((product,), "DFRobot product pages"),
        vectors=(
            Vector(
                "hand-encoded: 1000 units", {"distance": 1000 / divisor}, bytes.fromhex("ff03e8ea")
            ),
            Vector("wrong sum", None, bytes.fromhex("ff03e8eb")),
        ),
    )


DRIVERS = (
    _maxbotix(
        "hrxl-maxsonar-wr-5m",
        ("MaxBotix MB7360", "MaxBotix MB7369", "MaxBotix MB7389"),
        4,
        1000,
        5000,
        0.3,
    ),
    _maxbotix("hrxl-maxsonar-wr-10m", ("MaxBotix MB7383", "MaxBotix MB7386"), 4, 1000, 9999, 0.5),
    _maxbotix("xl-maxsonar-wr", ("MaxBotix MB7060", "MaxBotix MB7070"), 3, 100, 765, 0.2),
    _binary("a02yyuw", "DFRobot A02YYUW (SEN0311)", 1000, 30, 4.5),
    _binary("a01nyub", "DFRobot A01NYUB (SEN0313)", 1000, 280, 7.5),
    _binary("sen0627", "DFRobot SEN0627", 100, 0, 10.0),
)
