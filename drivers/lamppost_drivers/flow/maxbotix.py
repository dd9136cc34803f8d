"""MaxBotix ultrasonic distance sensors on UART: ASCII lines `Rnnnn CR`, unasked; the largest number: nothing seen."""

from functools import partial

from lamppost_drivers.contract import Absent, Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import talking

_MODELS = {  # products, divisor to metres, largest number, nearest in metres, a line
    "hrxl-maxsonar-wr-5m": ("MB7360 MB7369 MB7389", 1000, 5000, 0.3, b"R1342\r"),
    "hrxl-maxsonar-wr-10m": ("MB7383 MB7386", 1000, 9999, 0.5, b"R1342\r"),
    "xl-maxsonar-wr": ("MB7060 MB7070", 100, 765, 0.2, b"R142\r"),
}


def sound(line: bytes) -> bool:
    """Whether only digits stand between the marks."""
    return line[-1:] == b"\r" and line[1:-1].isdigit()


def values(divisor: int, nothing: int, line: bytes) -> Values:
    """Distance in metres of a line."""
    number = int(line[1:-1])
    return {"distance": Absent.NOT_AVAILABLE if number >= nothing else number / divisor}


DRIVERS = tuple(
    talking(
        model,
        *(f"MaxBotix {product}" for product in products.split()),
        source="MaxBotix MaxSonar-WR data sheets, serial output",
        points=(Point("distance", "m", nearest, nothing / divisor),),
        framing=FixedFraming(b"R", len(good), sound),
        values=partial(values, divisor, nothing),
        evidence=(
            ("hand-encoded", good.hex(), {"distance": int(good[1:-1]) / divisor}),
            ("no target", f"R{nothing}\r".encode().hex(), {"distance": Absent.NOT_AVAILABLE}),
            ("a letter among the digits", good.replace(b"4", b"x").hex(), None),
            ("a digit is missing", good.replace(b"4", b"").hex(), None),
        ),
        period=0.5,
        caveats=("Lines carry no check: give the point a tight range; choose TTL, not RS-232.",),
    )
    for model, (products, divisor, nothing, nearest, good) in _MODELS.items()
)
