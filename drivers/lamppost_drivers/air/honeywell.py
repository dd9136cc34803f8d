"""Honeywell HPMA115 particulate sensors on UART: ask with 04h, 8 (standard) or 16 (compact) bytes answer.

Source: Honeywell HPM Series data sheet, issue F. Zeros only are sent while the fan starts.
"""

from __future__ import annotations

from functools import partial

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import (
    Absent,
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


def command(*body: int) -> bytes:
    """A command: head 68h, length, its bytes, check."""
    frame = bytes((0x68, len(body), *body))
    return frame + bytes((-sum8(frame) & 0xFF,))


def sound(frame: bytes) -> bool:
    """Whether the last byte makes the sum zero."""
    return sum8(frame) == 0


def measure(names: tuple[str, ...], framing: FixedFraming, address: int) -> Exchange:
    """Ask for the masses."""
    yield Write(command(0x04))
    frame = first(framing, (yield Read(framing.length)))
    raw = [int.from_bytes(frame[at : at + 2]) for at in range(3, 3 + 2 * len(names), 2)]
    if not any(raw):
        return dict.fromkeys(names, Absent.WARMING_UP)
    return dict(zip(names, raw, strict=True))


def _driver(
    model: str, names: tuple[str, ...], length: int, good: str, wrong: str
) -> ExchangeDriver:
    return ExchangeDriver(
        model=model,
        bus="serial",
        serial=Serial(baud=9600),
        points=tuple(Point(name, "ug/m3", 0, 1000) for name in names),
        measure=partial(
            measure, names, FixedFraming(bytes((0x40, length - 3, 0x04)), length, sound)
        ),
        documentation=Documentation(
            (f"Honeywell {model.upper()}",), "Honeywell HPM Series data sheet, issue F"
        ),
        vectors=(
            Vector(
                "hand-encoded",
                {n: 30 + i for i, n in enumerate(names)},
                reply=(bytes.fromhex(good),),
            ),
            Vector("wrong check", None, reply=(bytes.fromhex(wrong),)),
        ),
    )


DRIVERS = (
    _driver("hpma115s0", ("pm25", "pm10"), 8, "400504001e001f7a", "400504001e001f7b"),
    _driver(
        "hpma115c0", ("pm1", "pm25", "pm4", "pm10"), 16,
        "400d04001e001f002000210000000031", "400d04001e001f002000210000000032",
    ),
)  # fmt: skip
