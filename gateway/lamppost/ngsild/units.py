"""Unit symbols of drivers → UN/CEFACT common codes, and the factors between them. A closed table.

Symbols are SenML's (RFC 8428 §12.1, RFC 8798) and, where SenML has none, the field's own. Codes are those of UNECE
Recommendation 20. Units of one dimension convert into one another; nothing else does. (HPA, which looks like a
hectopascal, is a hectolitre of pure alcohol; the hectopascal is A97.)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its code, its dimension, and value × factor + offset = value in the dimension's base unit."""

    code: str
    dimension: str
    factor: float = 1.0
    offset: float = 0.0


SYMBOLS: dict[str, Unit] = {
    # one and fractions of one
    "/": Unit("C62", "ratio"),
    "%": Unit("P1", "ratio", 0.01),
    "%RH": Unit("P1", "ratio", 0.01),
    "%EL": Unit("P1", "ratio", 0.01),
    "ppm": Unit("59", "share", 1e-6),
    "ppb": Unit("61", "share", 1e-9),
    "count": Unit("C62", "number"),
    "1/cm3": Unit("H50", "number density", 1e6),
    # electricity
    "V": Unit("VLT", "voltage"),
    "mV": Unit("2Z", "voltage", 1e-3),
    "kV": Unit("KVT", "voltage", 1e3),
    "A": Unit("AMP", "current"),
    "mA": Unit("4K", "current", 1e-3),
    "W": Unit("WTT", "power"),
    "kW": Unit("KWT", "power", 1e3),
    "MW": Unit("MAW", "power", 1e6),
    "VA": Unit("D46", "apparent power"),
    "kVA": Unit("KVA", "apparent power", 1e3),
    "var": Unit("D44", "reactive power"),
    "kvar": Unit("KVR", "reactive power", 1e3),
    "Hz": Unit("HTZ", "frequency"),
    "J": Unit("JOU", "energy"),
    "kJ": Unit("KJO", "energy", 1e3),
    "MJ": Unit("3B", "energy", 1e6),
    "GJ": Unit("GV", "energy", 1e9),
    "Wh": Unit("WHR", "energy", 3.6e3),
    "kWh": Unit("KWH", "energy", 3.6e6),
    "MWh": Unit("MWH", "energy", 3.6e9),
    "kvarh": Unit("K3", "reactive energy"),
    "kVAh": Unit("C79", "apparent energy"),
    # air, water, weather
    "ug/m3": Unit("GQ", "concentration", 1e-9),
    "mg/m3": Unit("GP", "concentration", 1e-6),
    "mg/l": Unit("M1", "concentration", 1e-3),
    "Cel": Unit("CEL", "temperature", 1.0, 273.15),
    "K": Unit("KEL", "temperature"),
    "Pa": Unit("PAL", "pressure"),
    "hPa": Unit("A97", "pressure", 1e2),
    "mbar": Unit("MBR", "pressure", 1e2),
    "kPa": Unit("KPA", "pressure", 1e3),
    "bar": Unit("BAR", "pressure", 1e5),
    "lx": Unit("LUX", "illuminance"),
    "W/m2": Unit("D54", "irradiance"),
    "m/s": Unit("MTS", "speed"),
    "km/h": Unit("KMH", "speed", 1 / 3.6),
    "deg": Unit("DD", "angle"),
    "mm": Unit("MMT", "length", 1e-3),
    "cm": Unit("CMT", "length", 1e-2),
    "m": Unit("MTR", "length"),
    "dB": Unit("2N", "level"),
    "dBA": Unit("2N", "level"),
    "pH": Unit("Q30", "acidity"),
    "uS/cm": Unit("G42", "conductivity", 1e-4),
    "mS/cm": Unit("H61", "conductivity", 1e-1),
    "S/m": Unit("D10", "conductivity"),
    "NTU": Unit("", "turbidity"),  # Recommendation 20 has no code
    "uSv/h": Unit("P72", "dose rate"),
    "Bq/m3": Unit("A19", "activity"),
    # volume and flow
    "m3": Unit("MTQ", "volume"),
    "l": Unit("LTR", "volume", 1e-3),
    "m3/s": Unit("MQS", "flow"),
    "m3/h": Unit("MQH", "flow", 1 / 3600),
    "l/s": Unit("G51", "flow", 1e-3),
    "l/min": Unit("L2", "flow", 1e-3 / 60),
    "l/h": Unit("E32", "flow", 1e-3 / 3600),
    # time, signal, mass
    "s": Unit("SEC", "time"),
    "min": Unit("MIN", "time", 60.0),
    "h": Unit("HUR", "time", 3600.0),
    "d": Unit("DAY", "time", 86400.0),
    "dBm": Unit("DBM", "signal"),
    "kg": Unit("KGM", "mass"),
}

# The first symbol of a code stands for it: C62 is a ratio before it is a number of things.
_BY_CODE: dict[str, Unit] = {unit.code: unit for unit in reversed(SYMBOLS.values())}


@dataclass(frozen=True, slots=True)
class Conversion:
    """target value = source value × factor + offset, and the target's code."""

    code: str
    factor: float = 1.0
    offset: float = 0.0


def code_of(symbol: str) -> str:
    """The UN/CEFACT code of a driver's unit, or "" where the table has none."""
    unit = SYMBOLS.get(symbol)
    return unit.code if unit else ""


def conversion(symbol: str, code: str) -> Conversion | None:
    """How a value in `symbol` becomes one in the unit of `code`; None if the two do not measure the same thing.

    An equal unit converts by 1 and 0 exactly. A counted number of things and a ratio are different dimensions.
    """
    source, target = SYMBOLS.get(symbol), _BY_CODE.get(code)
    if source is None or target is None or source.dimension != target.dimension:
        return None
    if source.factor == target.factor and source.offset == target.offset:
        return Conversion(code)
    factor = _tidy(source.factor / target.factor)
    return Conversion(code, factor, _tidy((source.offset - target.offset) / target.factor))


def _tidy(factor: float) -> float:
    """The same factor without the last bits that dividing two decimal fractions leaves behind."""
    return float(f"{factor:.12g}")
