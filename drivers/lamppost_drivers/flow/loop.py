"""Four 4..20 mA loops through an ADS1115 and 100 Ω shunts on I2C (TI ADS1115 data sheet SBAS444; NAMUR NE 43).

Below 3.6 mA and above 21 mA a transmitter reports its own fault; below 0.5 mA nothing is connected.
"""

from __future__ import annotations

from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Scalar,
    Vector,
    Wait,
    Write,
)

CHANNELS = ("loop.ch1", "loop.ch2", "loop.ch3", "loop.ch4")
MILLIAMPERE_PER_STEP = 4.096 / 32768 / 100 * 1000
SINGLE_SHOT, GAIN_4V, RATE_128 = 0x8000, 0x0200, 0x0083  # comparator off, 128 samples a second
NOT_CONNECTED, FAULT_LOW, FAULT_HIGH = 0.5, 3.6, 21.0


def measure(address: int) -> Exchange:
    """One single-shot conversion a channel, each input against ground."""
    values: dict[str, Scalar | Absent] = {}
    for index, name in enumerate(CHANNELS):
        mux = 4 + index << 12
        yield Write(b"\x01" + (SINGLE_SHOT | mux | GAIN_4V | 0x0100 | RATE_128).to_bytes(2))
        yield Wait(0.009)
        yield Write(b"\x00")
        values[name] = loop((yield Read(2)))
    return values


def loop(raw: bytes) -> Scalar | Absent:
    """Loop current in mA of a conversion register."""
    if len(raw) != 2:
        raise FrameError(f"{len(raw)} bytes came, 2 were asked for")
    milliampere = int.from_bytes(raw, signed=True) * MILLIAMPERE_PER_STEP
    if milliampere < NOT_CONNECTED:
        return Absent.NOT_AVAILABLE
    return milliampere if FAULT_LOW <= milliampere <= FAULT_HIGH else Absent.SENSOR_FAULT


DRIVERS = (
    ExchangeDriver(
        model="ads1115-4-20ma",
        bus="i2c",
        address=0x48,
        points=tuple(Point(name, "mA", 3.8, 20.5) for name in CHANNELS),
        measure=measure,
        documentation=Documentation(
            ("TI ADS1115 with four 100 Ω shunts",),
            "TI ADS1115 data sheet SBAS444; NAMUR NE 43",
            ("Shunts of 100 Ω, 0.1 %; the supply of the loop must leave 2.1 V for them.",),
        ),
        vectors=(
            Vector(
                "hand-encoded: 4 mA, 12 mA, a fault, an open loop",
                {
                    "loop.ch1": 4.0,
                    "loop.ch2": 12.0,
                    "loop.ch3": Absent.SENSOR_FAULT,
                    "loop.ch4": Absent.NOT_AVAILABLE,
                },
                reply=(b"\x0c\x80", b"\x25\x80", b"\x41\xeb", b"\x00\x05"),
            ),
        ),
    ),
)
