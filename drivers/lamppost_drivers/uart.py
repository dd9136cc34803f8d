"""The two usual shapes of a UART sensor, so that its file holds only what is its own: frame, values, evidence.

`talking` makes a driver of a sensor that sends frames unasked, `asked` of one that sends one frame for each request.
A sensor that needs more is a `StreamDriver` or an `ExchangeDriver` of its own (`air/sps30.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lamppost_drivers.contract import (
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Serial,
    StreamDriver,
    Values,
    Vector,
    Write,
)
from lamppost_drivers.framing import DelimitedFraming, FixedFraming, first

Evidence = tuple[str, str, Values | None]
"""A note where it comes from, a frame in hex, and its values; None where it must be refused."""


def talking(
    model: str,
    *products: str,
    source: str,
    points: tuple[Point, ...],
    framing: FixedFraming | DelimitedFraming,
    values: Callable[[bytes], Values],
    evidence: tuple[Evidence, ...],
    period: float,
    baud: int = 9600,
    caveats: tuple[str, ...] = (),
    wake: bytes = b"",
) -> StreamDriver:
    """A sensor that talks unasked, a frame every `period` seconds; `values` is given sound frames only."""
    return StreamDriver(
        model=model,
        points=points,
        serial=Serial(baud),
        framing=framing,
        decode=partial(_decode, framing, values),
        period=period,
        documentation=Documentation(products, source, caveats),
        vectors=tuple(
            Vector(note, expect, bytes.fromhex(frame)) for note, frame, expect in evidence
        ),
        wake=wake,
    )


def asked(
    model: str,
    *products: str,
    source: str,
    points: tuple[Point, ...],
    request: bytes,
    framing: FixedFraming,
    values: Callable[[bytes], Values],
    evidence: tuple[Evidence, ...],
    baud: int = 9600,
    caveats: tuple[str, ...] = (),
) -> ExchangeDriver:
    """A sensor that answers `request` with one frame."""

    def measure(address: int) -> Exchange:
        yield Write(request)
        return values(first(framing, (yield Read(framing.length))))

    return ExchangeDriver(
        model=model,
        bus="serial",
        points=points,
        measure=measure,
        documentation=Documentation(products, source, caveats),
        vectors=tuple(
            Vector(note, expect, reply=(bytes.fromhex(frame),)) for note, frame, expect in evidence
        ),
        serial=Serial(baud),
    )


def _decode(
    framing: FixedFraming | DelimitedFraming, values: Callable[[bytes], Values], frame: bytes
) -> Values:
    if first(framing, frame) != frame:
        raise FrameError(f"{len(frame)} bytes are not one sound frame")
    return values(frame)
