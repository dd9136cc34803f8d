"""Winsen MH-Z19B and MH-Z19C CO2 sensors on UART: ask with 86h, nine bytes answer (user manuals V1.0)."""

from __future__ import annotations

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import (
    Documentation,
    Exchange,
    ExchangeDriver,
    Point,
    Read,
    Serial,
    Vector,
    Write,
)
from lamppost_drivers.framing import FixedFraming, first


def command(code: int, value: int = 0) -> bytes:
    """A nine-byte command with its check."""
    body = bytes((0x01, code, value)).ljust(7, b"\0")
    return b"\xff" + body + bytes((-sum8(body) & 0xFF,))


def sound(frame: bytes) -> bool:
    """Whether the last byte makes the sum of all but the first zero."""
    return sum8(frame[1:]) == 0


FRAMING = FixedFraming(b"\xff\x86", 9, sound)


def measure(address: int) -> Exchange:
    """Ask for CO2."""
    yield Write(command(0x86))
    frame = first(FRAMING, (yield Read(9)))
    return {"co2": int.from_bytes(frame[2:4])}


DRIVERS = tuple(
    ExchangeDriver(
        model=model,
        bus="serial",
        serial=Serial(baud=9600),
        points=(Point("co2", "ppm", 350, 10000),),
        measure=measure,
        documentation=Documentation(
            (f"Winsen {model.upper()}",),
            "Winsen MH-Z19B and MH-Z19C user manuals V1.0",
            (
                "Give it 3 min to heat up (MH-Z19C 1 min).",
                "Self-calibration needs fresh air once a day; switch it off indoors.",
            ),
        ),
        vectors=(
            Vector(
                "hand-encoded: 608 ppm", {"co2": 608}, reply=(bytes.fromhex("ff86026047000000d1"),)
            ),
            Vector("wrong check", None, reply=(bytes.fromhex("ff86026047000000d0"),)),
        ),
    )
    for model in ("mh-z19b", "mh-z19c")
)
