"""Ultrasonic distance sensors on UART that send `FF hi lo sum` unasked: A02YYUW and its kin (DFRobot pages)."""

from functools import partial

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import Absent, Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import talking

_MODELS = {  # product, divisor to metres, nearest number that is a distance, farthest in metres
    "a02yyuw": ("DFRobot A02YYUW (SEN0311)", 1000, 30, 4.5),
    "a01nyub": ("DFRobot A01NYUB (SEN0313)", 1000, 280, 7.5),
    "sen0627": ("DFRobot SEN0627", 100, 0, 10.0),
}


def sound(frame: bytes) -> bool:
    """Whether the last byte is the sum of the others."""
    return sum8(frame[:-1]) == frame[-1]


def values(divisor: int, nearest: int, frame: bytes) -> Values:
    """Distance in metres; below `nearest` it is too near to be told."""
    number = int.from_bytes(frame[1:3])
    return {"distance": Absent.NOT_AVAILABLE if number < nearest else number / divisor}


DRIVERS = tuple(
    talking(
        model,
        product,
        source="DFRobot product pages",
        points=(Point("distance", "m", nearest / divisor, farthest),),
        framing=FixedFraming(b"\xff", 4, sound),
        values=partial(values, divisor, nearest),
        evidence=(
            ("hand-encoded: 500 units", "ff01f4f4", {"distance": 500 / divisor}),
            ("wrong sum", "ff01f4f5", None),
        ),
        period=0.5,
    )
    for model, (product, divisor, nearest, farthest) in _MODELS.items()
)
