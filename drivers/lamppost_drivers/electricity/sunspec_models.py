"""Where the points of SunSpec information models stand: our own table of the public model definitions.

Offsets count from the register that holds the model's ID. Single, split, wye and delta variants share one layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lamppost_drivers.contract import Kind, Point, Register
from lamppost_drivers.registermap import words_of

Range = tuple[float, float]

# What a type sends where the point is not implemented; NaN needs no entry.
ABSENT: Mapping[str, tuple[int, ...]] = {
    "int16": (0x8000,),
    "uint16": (0xFFFF,),
    "bits32": (0xFFFFFFFF,),
    "acc32": (0,),
}
WIRE = {"acc32": "uint32", "bits32": "uint32"}

AMPS, VOLTS, WATTS, HERTZ, RATIO = (-6000, 6000), (0, 1000), (-1e7, 1e7), (45, 65), (-1, 1)
CELSIUS, COUNT, DC_VOLTS = (-40, 150), (0, 1e9), (0, 1500)


def _run(
    offset: int,
    names: str,
    type_: str,
    unit: str,
    bounds: Range,
    sf: int | None = None,
    scale: float = 1.0,
) -> tuple[Register, ...]:
    """Values of one type and unit that stand one after another; `sf` is the offset of their scale factor."""
    wire = WIRE.get(type_, type_)
    width = words_of(wire)
    counter = type_ == "acc32" or unit in ("kWh", "kvarh", "kVAh") or names.startswith("rain")
    registers = []
    for name in names.split():
        point = Point(name, unit, *bounds, Kind.COUNTER if counter else Kind.GAUGE)
        span = width if sf is None else sf - offset + 1
        absent = ABSENT.get(type_, ())
        registers.append(
            Register(point, offset, wire, "holding", "big", span, scale, 0.0, absent, "fast", sf)
        )
        offset += width
    return tuple(registers)


def _phases(base: str, total: str = "") -> str:
    return " ".join((total or base, *(f"{base}.l{phase}" for phase in (1, 2, 3))))


_LINES = "voltage.l1_l2 voltage.l2_l3 voltage.l3_l1"
_STARS = "voltage.l1 voltage.l2 voltage.l3"
_VOLTS = f"voltage.average {_STARS} voltage.average_ll {_LINES}"
_WH = f"{_phases('energy.export')} {_phases('energy.import')}"
_VAH = f"{_phases('apparent_energy.export')} {_phases('apparent_energy.import')}"
_VARH = " ".join(
    _phases(f"reactive_energy.{quadrant}")
    for quadrant in ("import_q1", "import_q2", "export_q3", "export_q4")
)
_PARTS = "temperature.cabinet temperature.heat_sink temperature.transformer temperature.other"

INTEGER_INVERTER = (
    *_run(2, _phases("current"), "uint16", "A", AMPS, 6),
    *_run(7, f"{_LINES} {_STARS}", "uint16", "V", VOLTS, 13),
    *_run(14, "power", "int16", "W", WATTS, 15),
    *_run(16, "frequency", "uint16", "Hz", HERTZ, 17),
    *_run(18, "apparent_power", "int16", "VA", WATTS, 19),
    *_run(20, "reactive_power", "int16", "var", WATTS, 21),
    *_run(22, "power_factor", "ratio16", "/", RATIO, 23),
    *_run(24, "energy.export", "acc32", "kWh", COUNT, 26, 0.001),
    *_run(27, "dc.current", "uint16", "A", AMPS, 28),
    *_run(29, "dc.voltage", "uint16", "V", DC_VOLTS, 30),
    *_run(31, "dc.power", "int16", "W", WATTS, 32),
    *_run(33, _PARTS, "int16", "Cel", CELSIUS, 37),
    *_run(38, "state state.vendor", "uint16", "/", (0, 0xFFFE)),
    *_run(40, "events", "bits32", "/", (0, 0xFFFFFFFE)),
)
FLOAT_INVERTER = (
    *_run(2, _phases("current"), "float32", "A", AMPS),
    *_run(10, f"{_LINES} {_STARS}", "float32", "V", VOLTS),
    *_run(22, "power", "float32", "W", WATTS),
    *_run(24, "frequency", "float32", "Hz", HERTZ),
    *_run(26, "apparent_power", "float32", "VA", WATTS),
    *_run(28, "reactive_power", "float32", "var", WATTS),
    *_run(30, "power_factor", "float32", "/", RATIO, None, 0.01),
    *_run(32, "energy.export", "float32", "kWh", COUNT, None, 0.001),
    *_run(34, "dc.current", "float32", "A", AMPS),
    *_run(36, "dc.voltage", "float32", "V", DC_VOLTS),
    *_run(38, "dc.power", "float32", "W", WATTS),
    *_run(40, _PARTS, "float32", "Cel", CELSIUS),
    *_run(48, "state state.vendor", "uint16", "/", (0, 0xFFFE)),
    *_run(50, "events", "bits32", "/", (0, 0xFFFFFFFE)),
)
INTEGER_METER = (
    *_run(2, _phases("current"), "int16", "A", AMPS, 6),
    *_run(7, _VOLTS, "int16", "V", VOLTS, 15),
    *_run(16, "frequency", "int16", "Hz", HERTZ, 17),
    *_run(18, _phases("power"), "int16", "W", WATTS, 22),
    *_run(23, _phases("apparent_power"), "int16", "VA", WATTS, 27),
    *_run(28, _phases("reactive_power"), "int16", "var", WATTS, 32),
    *_run(33, _phases("power_factor"), "ratio16", "/", RATIO, 37),
    *_run(38, _WH, "acc32", "kWh", COUNT, 54, 0.001),
    *_run(55, _VAH, "acc32", "kVAh", COUNT, 71, 0.001),
    *_run(72, _VARH, "acc32", "kvarh", COUNT, 104, 0.001),
    *_run(105, "events", "bits32", "/", (0, 0xFFFFFFFE)),
)
FLOAT_METER = (
    *_run(2, _phases("current"), "float32", "A", AMPS),
    *_run(10, _VOLTS, "float32", "V", VOLTS),
    *_run(26, "frequency", "float32", "Hz", HERTZ),
    *_run(28, _phases("power"), "float32", "W", WATTS),
    *_run(36, _phases("apparent_power"), "float32", "VA", WATTS),
    *_run(44, _phases("reactive_power"), "float32", "var", WATTS),
    *_run(52, _phases("power_factor"), "float32", "/", RATIO),
    *_run(60, _WH, "float32", "kWh", COUNT, None, 0.001),
    *_run(76, _VAH, "float32", "kVAh", COUNT, None, 0.001),
    *_run(92, _VARH, "float32", "kvarh", COUNT, None, 0.001),
    *_run(124, "events", "bits32", "/", (0, 0xFFFFFFFE)),
)
IRRADIANCE = _run(
    2,
    "irradiance.global irradiance.plane irradiance.diffuse irradiance.direct irradiance.other",
    "uint16", "W/m2", (0, 2000),
)  # fmt: skip
MODULE_TEMPERATURE = _run(2, "temperature.module", "int16", "Cel", CELSIUS, None, 0.1)
WEATHER = (
    *_run(2, "temperature", "int16", "Cel", (-50, 60), None, 0.1),
    *_run(3, "humidity", "int16", "%RH", (0, 100)),
    *_run(4, "pressure", "int16", "Pa", (50_000, 110_000), None, 100),
    *_run(5, "wind.speed", "int16", "m/s", (0, 75)),
    *_run(6, "wind.direction", "int16", "deg", (0, 360)),
    *_run(7, "rain", "int16", "mm", (0, 32767)),
    *_run(8, "snow", "int16", "mm", (0, 5000)),
    *_run(9, "precipitation.type", "int16", "/", (0, 99)),
    *_run(10, "electric_field", "int16", "V/m", (-30_000, 30_000)),
    *_run(11, "surface_wetness", "int16", "Ohm", (0, 3.2e7), None, 1000),
    *_run(12, "soil_moisture", "int16", "%", (0, 100)),
)
SMALL_WEATHER = (
    *_run(2, "irradiance.global", "uint16", "W/m2", (0, 2000)),
    *_run(3, "temperature.module temperature", "int16", "Cel", CELSIUS, None, 0.1),
    *_run(5, "wind.speed", "uint16", "m/s", (0, 75)),
)
_AXES = "tilt.{0}.x tilt.{0}.y tilt.{0}.z"
TILT = tuple(  # model 304: one row of three angles a sensor; the first two sensors
    register
    for number, offset in ((1, 2), (2, 8))
    for register in _run(offset, _AXES.format(number), "int32", "deg", (-360, 360), None, 0.01)
)
PLACE = (
    *_run(32, "latitude", "int32", "deg", (-90, 90), None, 1e-7),
    *_run(34, "longitude", "int32", "deg", (-180, 180), None, 1e-7),
    *_run(36, "altitude", "int32", "m", (-500, 9000)),
)
REFERENCE = tuple(  # model 306: a reference cell in seven registers; the first two of them
    register
    for number, offset in ((1, 2), (2, 9))
    for register in (
        *_run(offset, f"reference.{number}.irradiance", "uint16", "W/m2", (0, 2000)),
        *_run(offset + 1, f"reference.{number}.current", "int32", "A", AMPS, None, 0.01),
        *_run(offset + 3, f"reference.{number}.voltage", "int32", "V", VOLTS, None, 0.01),
        *_run(offset + 5, f"reference.{number}.temperature", "int32", "Cel", CELSIUS, None, 0.1),
    )
)

INVERTERS: Mapping[int, tuple[Register, ...]] = {
    **dict.fromkeys((101, 102, 103), INTEGER_INVERTER),
    **dict.fromkeys((111, 112, 113), FLOAT_INVERTER),
}
METERS: Mapping[int, tuple[Register, ...]] = {
    **dict.fromkeys((201, 202, 203, 204), INTEGER_METER),
    **dict.fromkeys((211, 212, 213, 214), FLOAT_METER),
}
WEATHERS: Mapping[int, tuple[Register, ...]] = {
    302: IRRADIANCE, 303: MODULE_TEMPERATURE, 304: TILT, 305: PLACE, 306: REFERENCE, 307: WEATHER,
    308: SMALL_WEATHER,
}  # fmt: skip


def placed(layout: tuple[Register, ...], address: int, length: int) -> tuple[Register, ...]:
    """The registers of a layout whose model ID stands at `address`, as far as a model of `length` reaches."""
    return tuple(
        replace(
            r,
            address=address + r.address,
            scale_at=None if r.scale_at is None else address + r.scale_at,
        )
        for r in layout
        if r.address + r.words <= length + 2
    )
