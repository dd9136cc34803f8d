"""Sensirion SPS30 particulate sensor, on UART (SHDLC) and on I2C, big-endian floats on both.

Source: Sensirion SPS30 data sheet V1.0.
"""

from __future__ import annotations

import math
import struct

from lamppost_drivers.air.sensirion import command, uint16, words
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Serial,
    Values,
    Vector,
    Wait,
    Write,
)
from lamppost_drivers.shdlc import NOT_ALLOWED, Answer, answered, request

POINTS = (
    *(Point(name, "ug/m3", 0, 1000) for name in ("pm1", "pm25", "pm4", "pm10")),
    *(Point(f"count.{name}", "1/cm3", 0, 3000) for name in ("pm05", "pm1", "pm25", "pm4", "pm10")),
    Point("size.typical", "um", 0, 10),
)
NAMES = tuple(point.name for point in POINTS)
START, READ, WAKE, LONGEST = (
    0x00,
    0x03,
    0x11,
    96,
)  # a measurement takes 47 bytes, most of them stuffed 92
FLOATS = b"\x01\x03"


def start(address: int) -> Exchange:
    """UART: wake the sensor (FFh first, it is lost) and start measuring in floats."""
    yield Write(b"\xff" + request(WAKE))
    yield Read(LONGEST)
    yield Write(request(START, FLOATS))
    yield Read(LONGEST)
    return {}


def measure(address: int) -> Exchange:
    """UART: the newest values. A sensor that lost its power, and so does not measure, is started again."""
    yield Write(request(READ))
    got = answered((yield Read(LONGEST)), READ)
    if got.state & 0x7F == NOT_ALLOWED:
        yield from start(address)
        return dict.fromkeys(NAMES, Absent.WARMING_UP)
    return values(got)


def values(got: Answer) -> Values:
    """The ten values of an answer; not available where there is no new one, a fault where the sensor says so."""
    if got.state & 0x7F:
        raise FrameError(f"the sensor refused: {got.state & 0x7F:#04x}")
    if got.state & 0x80:
        return dict.fromkeys(NAMES, Absent.SENSOR_FAULT)
    return _floats(got.data) if got.data else dict.fromkeys(NAMES, Absent.NOT_AVAILABLE)


def _floats(data: bytes) -> Values:
    if len(data) != 40:
        raise FrameError(f"{len(data)} bytes of values, not 40")
    numbers = struct.unpack(">10f", data)
    return {
        name: n if math.isfinite(n) else Absent.NOT_AVAILABLE
        for name, n in zip(NAMES, numbers, strict=True)
    }


def start_i2c(address: int) -> Exchange:
    """I2C: start measuring in floats."""
    yield Write(command(0x0010, 0x0300))
    yield Wait(0.02)
    return {}


def measure_i2c(address: int) -> Exchange:
    """I2C: the newest values, or not available where none came since the last read."""
    yield Write(command(0x0202))
    (ready,) = uint16((yield Read(3)), 1)
    if not ready & 1:
        return dict.fromkeys(NAMES, Absent.NOT_AVAILABLE)
    yield Write(command(0x0300))
    return _floats(words((yield Read(60)), 20))


_EXPECT: Values = dict(
    zip(NAMES, (5.25, 7.5, 8.25, 8.5, 30.5, 36.25, 37.0, 37.125, 37.25, 0.5625), strict=True)
)
_DOC = Documentation(
    ("Sensirion SPS30",),
    "Sensirion SPS30 data sheet V1.0",
    ("SEL left open chooses UART, SEL to ground I2C.", "Needs 5 V; I2C at 100 kHz at most."),
)
DRIVERS = (
    ExchangeDriver(
        model="sps30",
        bus="serial",
        serial=Serial(baud=115200),
        points=POINTS,
        measure=measure,
        setup=start,
        documentation=_DOC,
        vectors=(
            Vector(
                "hand-encoded floats",
                _EXPECT,
                reply=(
                    bytes.fromhex(
                        "7e0003002840a8000040f00000410400004108000041f40000427d3100004214000042148000421500003f100000d47e"
                    ),
                ),
            ),
            Vector(
                "no new value",
                dict.fromkeys(NAMES, Absent.NOT_AVAILABLE),
                reply=(bytes.fromhex("7e00030000fc7e"),),
            ),
            Vector("wrong sum", None, reply=(bytes.fromhex("7e00030000fd7e"),)),
        ),
    ),
    ExchangeDriver(
        model="sps30-i2c",
        bus="i2c",
        address=0x69,
        points=POINTS,
        measure=measure_i2c,
        setup=start_i2c,
        documentation=_DOC,
        vectors=(
            Vector(
                "hand-encoded floats",
                _EXPECT,
                reply=(
                    bytes.fromhex("0001b0"),
                    bytes.fromhex(
                        "40a84d00008140f08a00008141043800008141084500008141f4ba0000814211a30000814214560000814214568000a24215670000813f10e9000081"
                    ),
                ),
            ),
            Vector("wrong CRC", None, reply=(bytes.fromhex("0001b0"), bytes(60))),
        ),
    ),
)
