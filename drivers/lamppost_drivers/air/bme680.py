"""Bosch BME680 and BME688 on I2C, forced mode: temperature, humidity, pressure, resistance of the gas sensor.

Source: data sheet BST-BME680-DS001, sections 3 and 5. Calibration is read each time, as for the BME280.
The plate is heated to 320 degrees for 150 ms, the maker's example.
"""

from __future__ import annotations

from lamppost_drivers.air import bme68x
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Point,
    Read,
    Vector,
    Wait,
    Write,
)

CHIP_ID = 0x61
PLATE, HEATING = 320.0, 150
RUN_GAS = {bme68x.LOW: 0x10, bme68x.HIGH: 0x20}


def measure(address: int) -> Exchange:
    """One forced measurement: temperature twice, pressure 16 times, humidity once, then the gas."""
    yield Write(b"\xd0")
    chip = yield Read(1)
    if chip != bytes((CHIP_ID,)):
        raise FrameError(f"chip id {chip.hex() or 'missing'}, not 61 (BME680, BME688)")
    yield Write(b"\xf0")
    variant = int.from_bytes((yield Read(1)))
    if variant not in RUN_GAS:
        raise FrameError(f"variant {variant:02x}, not 00 (BME680) or 01 (BME688)")
    yield Write(b"\x8a")
    first = yield Read(23)
    yield Write(b"\xe1")
    second = yield Read(14)
    yield Write(b"\x00")
    third = yield Read(5)
    calibration = bme68x.calibration(first, second, third)
    yield Write(bytes((0x5A, bme68x.heater(calibration, PLATE))))
    yield Write(bytes((0x64, bme68x.heating(HEATING))))
    yield Write(b"\x70\x00")
    yield Write(bytes((0x71, RUN_GAS[variant])))
    yield Write(b"\x72\x01")
    yield Write(b"\x74\x55")
    yield Wait(0.05 + HEATING / 1000)
    yield Write(b"\x1d")
    field = yield Read(17)
    return bme68x.compensate(calibration, field, variant)


_FIRST = bytes.fromhex("0f6703 00 d18e 6bd7 58 00 cc1f 9dff 29 1e 0000 fcf4 4cf5 1e")
_SECOND = bytes.fromhex("3ec430 00 2d 14 78 9c 0d66 c7cf e2 12")
_THIRD = bytes.fromhex("2c 00 10 00 f0")
_FIELD = bytes.fromhex("80 00 5178c0 7ae4a0 4e20 000000 83b6 0000")
_AIR = {"temperature": 26.8536845, "pressure": 100083.5531, "humidity": 37.987559}
DRIVERS = (
    ExchangeDriver(
        model="bme680",
        bus="i2c",
        address=0x76,
        points=(
            Point("temperature", "Cel", -40, 85),
            Point("pressure", "Pa", 30_000, 110_000),
            Point("humidity", "%RH", 0, 100),
            Point("gas.resistance", "Ohm", 100, 2e8),
        ),
        measure=measure,
        documentation=Documentation(
            ("Bosch BME680", "Bosch BME688"),
            "Bosch BME680 data sheet BST-BME680-DS001, BME68x Sensor API",
            (
                "Address 0x77 where SDO is high.",
                "The air-quality index needs Bosch's closed library; this is the plain resistance: less is worse air.",
                "The hot plate warms the board: poll it no faster than every 10 s, away from other sensors.",
            ),
        ),
        vectors=(
            Vector(
                "hand-encoded; the maker's integer formulas give 26.85, 100080, 37.983 and 123703",
                {**_AIR, "gas.resistance": 123702.742773},
                reply=(b"\x61", b"\x00", _FIRST, _SECOND, _THIRD, _FIELD),
            ),
            Vector(
                "hand-encoded: a BME688, whose gas stands two registers later",
                {**_AIR, "gas.resistance": 989850.169164},
                reply=(
                    b"\x61",
                    b"\x01",
                    _FIRST,
                    _SECOND,
                    _THIRD,
                    _FIELD[:13] + _FIELD[15:] + _FIELD[13:15],
                ),
            ),
            Vector(
                "the plate was not hot yet",
                {**_AIR, "gas.resistance": Absent.WARMING_UP},
                reply=(b"\x61", b"\x00", _FIRST, _SECOND, _THIRD, _FIELD[:14] + b"\xa6\x00\x00"),
            ),
            Vector(
                "the measurement is not finished",
                None,
                reply=(b"\x61", b"\x00", _FIRST, _SECOND, _THIRD, b"\x00" + _FIELD[1:]),
            ),
            Vector("a BME280", None, reply=(b"\x60",)),
        ),
    ),
)
