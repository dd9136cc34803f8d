"""Winsen MH-Z19B and MH-Z19C CO2 sensors on UART: ask with 86h, nine bytes answer (user manuals V1.0)."""

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import asked


def command(code: int, value: int = 0) -> bytes:
    """A nine-byte command with its check."""
    body = bytes((0x01, code, value)).ljust(7, b"\0")
    return b"\xff" + body + bytes((-sum8(body) & 0xFF,))


def sound(frame: bytes) -> bool:
    """Whether the last byte makes the sum of all but the first zero."""
    return sum8(frame[1:]) == 0


def values(frame: bytes) -> Values:
    """CO2 of an answer."""
    return {"co2": int.from_bytes(frame[2:4])}


DRIVERS = tuple(
    asked(
        model,
        f"Winsen {model.upper()}",
        source="Winsen MH-Z19B and MH-Z19C user manuals V1.0",
        points=(Point("co2", "ppm", 350, 10000),),
        request=command(0x86),
        framing=FixedFraming(b"\xff\x86", 9, sound),
        values=values,
        evidence=(
            ("hand-encoded: 608 ppm", "ff86026047000000d1", {"co2": 608}),
            ("wrong check", "ff86026047000000d0", None),
        ),
        caveats=(
            "Give it 3 min to heat up (MH-Z19C 1 min).",
            "Self-calibration needs fresh air once a day; switch it off indoors.",
        ),
    )
    for model in ("mh-z19b", "mh-z19c")
)
