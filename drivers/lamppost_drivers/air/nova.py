"""Nova SDS011, SDS018 and SDS021 particulate sensors: a 10-byte frame a second, unasked."""

import struct

from lamppost_drivers.air.nova_commands import ACTIVE, command
from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import Point, Values
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import talking


def sound(frame: bytes) -> bool:
    """Whether the tail stands and the last byte but one is the sum of the six data bytes."""
    return frame[-1] == 0xAB and frame[8] == sum8(frame[2:8])


def values(frame: bytes) -> Values:
    """PM2.5 and PM10 of a frame."""
    pm25, pm10 = struct.unpack_from("<2H", frame, 2)
    return {"pm25": pm25 / 10, "pm10": pm10 / 10}


DRIVERS = tuple(
    talking(
        model,
        f"Nova {model.upper()}",
        source="Nova Fitness, Laser Dust Sensor Control Protocol V1.3",
        points=(Point("pm25", "ug/m3", 0, 999.9), Point("pm10", "ug/m3", 0, 1999.9)),
        framing=FixedFraming(b"\xaa\xc0", 10, sound),
        values=values,
        evidence=(
            ("hand-encoded: 12.3 and 45.6", "aac07b00c80134128aab", {"pm25": 12.3, "pm10": 45.6}),
            ("wrong sum", "aac07b00c80134128bab", None),
        ),
        period=1.0,
        caveats=(
            "The laser lasts about 8000 h: set a working period in the sensor for years of use.",
            "Above 70 %RH it counts droplets as dust.",
        ),
        wake=command(ACTIVE),
    )
    for model in ("sds011", "sds018", "sds021")
)
