"""Nova SDS011, SDS018 and SDS021 particulate sensors: a 10-byte frame a second, unasked.

Source: Nova Fitness, Laser Dust Sensor Control Protocol V1.3.
"""

from __future__ import annotations

import struct

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import (
    Documentation,
    FrameError,
    Point,
    Serial,
    StreamDriver,
    Values,
    Vector,
)
from lamppost_drivers.framing import FixedFraming


def sound(frame: bytes) -> bool:
    """Whether the tail stands and the last byte but one is the sum of the six data bytes."""
    return frame[-1] == 0xAB and frame[8] == sum8(frame[2:8])


FRAMING = FixedFraming(b"\xaa\xc0", 10, sound)
ACTIVE, QUERY = bytes((2, 1, 0)), bytes((2, 1, 1))
ASK, SLEEP, WORK, FIRMWARE = bytes((4,)), bytes((6, 1, 0)), bytes((6, 1, 1)), bytes((7,))


def command(data: bytes, device: int = 0xFFFF) -> bytes:
    """A 19-byte command to one device, or to any (FFFFh)."""
    body = data.ljust(13, b"\0") + device.to_bytes(2)
    return b"\xaa\xb4" + body + bytes((sum8(body), 0xAB))


def decode(frame: bytes) -> Values:
    """PM2.5 and PM10 of a whole frame."""
    if len(frame) != 10 or frame[:2] != b"\xaa\xc0" or not sound(frame):
        raise FrameError("not an SDS frame: length, sum or tail")
    pm25, pm10 = struct.unpack_from("<2H", frame, 2)
    return {"pm25": pm25 / 10, "pm10": pm10 / 10}


_CAVEATS = (
    "The laser lasts about 8000 h: set a working period in the sensor for years of use.",
    "Above 70 %RH it counts droplets as dust.",
)
DRIVERS = tuple(
    StreamDriver(
        model=model,
        points=(Point("pm25", "ug/m3", 0, 999.9), Point("pm10", "ug/m3", 0, 1999.9)),
        serial=Serial(baud=9600),
        framing=FRAMING,
        decode=decode,
        period=1.0,
        documentation=Documentation(
            (f"Nova {model.upper()}",), "Nova Laser Dust Sensor Control Protocol V1.3", _CAVEATS
        ),
        vectors=(
            Vector(
                "hand-encoded: 12.3 and 45.6",
                {"pm25": 12.3, "pm10": 45.6},
                bytes.fromhex("aac07b00c80134128aab"),
            ),
            Vector("wrong sum", None, bytes.fromhex("aac07b00c80134128bab")),
        ),
        wake=command(ACTIVE),
    )
    for model in ("sds011", "sds018", "sds021")
)
