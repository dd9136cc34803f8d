"""P1 port of smart meters: DSMR 2.2 to 5, eSMR, Fluvius, Sweden, Hungary, Luxembourg in clear.

Source: DSMR 5.0.2 P1 companion standard; IEC 62056-61 (OBIS). The CRC is CRC-16/ARC from "/" to "!" inclusive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lamppost_drivers.checksum import crc16_arc
from lamppost_drivers.contract import (
    Absent,
    Documentation,
    FrameError,
    Kind,
    Point,
    Scalar,
    Serial,
    StreamDriver,
    Values,
    Vector,
)
from lamppost_drivers.framing import DelimitedFraming

Objects = dict[str, list[tuple[str, str]]]  # OBIS code → (value, unit) of each pair of brackets

LIMIT = 8192
_LINE = re.compile(r"([0-9]+-[0-9]+:[0-9]+\.[0-9]+\.[0-9]+)((?:\([^()]*\))+)")
_BRACKETS = re.compile(r"\(([^()]*)\)")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")
_END = re.compile(rb"![0-9A-Fa-f]{0,4}\r\n")

_FACTORS = {"kWh": 1, "Wh": 0.001, "kW": 1000, "W": 1, "kvar": 1000, "kVAr": 1000, "kvarh": 1, "kVArh": 1, "V": 1,
            "A": 1, "Hz": 1, "m3": 1, "GJ": 1 / 0.0036, "": 1, "s": 1}  # fmt: skip


def _phases(first: int) -> tuple[tuple[int, str], ...]:
    return tuple((first + 20 * n, f".l{n + 1}") for n in range(3))


def _plain_points() -> dict[str, Point]:
    """Points by the part of the OBIS code after the colon, for objects of the meter itself (1-0)."""
    energy, watts = (0, 1e8), (0, 1e7)
    points = {
        "14.7.0": Point("frequency", "Hz", 45, 65),
        "13.7.0": Point("power_factor", "/", -1, 1),
        "1.4.0": Point("power.import.average", "W", *watts),
        "1.6.0": Point("power.import.peak", "W", *watts),
    }
    for code, name in ((1, "import"), (2, "export")):
        points[f"{code}.8.0"] = Point(f"energy.{name}", "kWh", *energy, Kind.COUNTER)
        points[f"{code}.7.0"] = Point(f"power.{name}", "W", *watts)
        points[f"{code + 2}.8.0"] = Point(f"reactive_energy.{name}", "kvarh", *energy, Kind.COUNTER)
        points[f"{code + 2}.7.0"] = Point(f"reactive_power.{name}", "var", *watts)
        for tariff in (1, 2, 3, 4):
            points[f"{code}.8.{tariff}"] = Point(
                f"energy.{name}.t{tariff}", "kWh", *energy, Kind.COUNTER
            )
        for phase, suffix in _phases(20 + code):
            points[f"{phase}.7.0"] = Point(f"power.{name}{suffix}", "W", *watts)
            points[f"{phase + 2}.7.0"] = Point(f"reactive_power.{name}{suffix}", "var", *watts)
    for phase, suffix in _phases(31):
        points[f"{phase}.7.0"] = Point(f"current{suffix}", "A", 0, 6000)
        points[f"{phase + 1}.7.0"] = Point(f"voltage{suffix}", "V", 0, 300)
        points[f"{phase + 2}.7.0"] = Point(f"power_factor{suffix}", "/", -1, 1)
        points[f"{phase + 1}.32.0"] = Point(f"voltage_sags{suffix}", "/", 0, 1e6, Kind.COUNTER)
        points[f"{phase + 1}.36.0"] = Point(f"voltage_swells{suffix}", "/", 0, 1e6, Kind.COUNTER)
    return points


_METER = _plain_points()
_SITE = {
    "0-0:96.14.0": Point("tariff", "/", 0, 99),
    "0-0:96.7.21": Point("power_failures.short", "/", 0, 1e6, Kind.COUNTER),
    "0-0:96.7.9": Point("power_failures.long", "/", 0, 1e6, Kind.COUNTER),
    "0-0:96.3.10": Point("breaker", "/", 0, 2),
}
_ATTACHED = {
    "003": Point("gas.volume", "m3", 0, 1e8, Kind.COUNTER),
    "007": Point("volume", "m3", 0, 1e8, Kind.COUNTER),
    "004": Point("energy.heat", "kWh", 0, 1e8, Kind.COUNTER),
    "012": Point("energy.cooling", "kWh", 0, 1e8, Kind.COUNTER),
}
_NET = tuple(Point(f"power{suffix}", "W", -1e7, 1e7) for suffix in ("", ".l1", ".l2", ".l3"))
POINTS = (*_METER.values(), *_SITE.values(), *_ATTACHED.values(), *_NET)


def sound(frame: bytes) -> bool:
    """Whether the CRC after the "!" is there and right; some meters leave out its leading zeros."""
    end = frame.rfind(b"!")
    digits = frame[end + 1 : -2]
    return 0 < len(digits) <= 4 and int(digits, 16) == crc16_arc(frame[: end + 1])


def sound_without_crc(frame: bytes) -> bool:
    """DSMR 2.2 and 3 have no CRC: the telegram must at least be one, and ASCII throughout."""
    return frame.endswith(b"!\r\n") and b"\n/" not in frame and frame.isascii()


def objects(frame: bytes) -> Objects:
    """All objects of a telegram, by OBIS code. A line that is none is passed over."""
    found: Objects = {}
    code = ""
    for line in frame.decode("latin-1").split("\r\n"):
        whole = _LINE.fullmatch(line)
        if whole:
            code = whole[1]
            found[code] = _pairs(whole[2])
        elif code and line.startswith("("):  # DSMR 2.2 gas: the value stands on a line of its own
            found[code] += _pairs(line)
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = (inner.partition("*") for inner in _BRACKETS.findall(text))
    return [(value, unit) for value, _, unit in pairs]


def decode(frame: bytes) -> Values:
    """Values of a whole telegram. Raises FrameError where it holds none."""
    found = objects(frame)
    values: dict[str, Scalar | Absent] = {}
    for code, pairs in found.items():
        point = _SITE.get(code) or (
            _METER.get(code[4:]) if code.startswith("1-0:") else _attached(code, found)
        )
        if point is not None:
            values[point.name] = _value(*pairs[-1])
    if not values:
        raise FrameError("a telegram without a value that is known here")
    _add_totals(values)
    return values


def _attached(code: str, found: Objects) -> Point | None:
    """The point of a meter behind this one (gas, water, heat), by the type it says it has."""
    channel, _, object_ = code.partition(":")
    if object_ not in ("24.2.1", "24.2.3", "24.3.0"):
        return None
    if object_ != "24.2.1":
        return _ATTACHED["003"]
    kind = found.get(f"{channel}:24.1.0", [("", "")])[-1][0]
    return _ATTACHED.get(kind.zfill(3))


def _value(text: str, unit: str) -> Scalar | Absent:
    if not _NUMBER.fullmatch(text) or unit not in _FACTORS:
        return Absent.NOT_AVAILABLE
    factor = _FACTORS[unit]
    number = float(text) if "." in text else int(text)
    return number if factor == 1 else round(number * factor, 6)


def _add_totals(values: dict[str, Scalar | Absent]) -> None:
    """Dutch and Belgian meters send energy by tariff only, and power as two numbers of which one is zero."""
    for name in ("energy.import", "energy.export"):
        parts = [values.get(f"{name}.t{tariff}") for tariff in (1, 2, 3, 4)]
        numbers = [part for part in parts if isinstance(part, int | float)]
        if name not in values and numbers:
            values[name] = round(sum(numbers), 3)
    for suffix in ("", ".l1", ".l2", ".l3"):
        drawn, fed = values.get(f"power.import{suffix}"), values.get(f"power.export{suffix}")
        if isinstance(drawn, int | float) and isinstance(fed, int | float):
            values[f"power{suffix}"] = drawn - fed


_LINES = (
    "1-3:0.2.8(50)", "0-0:1.0.0(260412093000S)", "1-0:1.8.1(001234.567*kWh)", "1-0:1.8.2(002000.001*kWh)",
    "1-0:2.8.1(000010.500*kWh)", "1-0:2.8.2(000000.000*kWh)", "0-0:96.14.0(0002)", "1-0:1.7.0(00.000*kW)",
    "1-0:2.7.0(01.250*kW)", "1-0:32.7.0(231.4*V)", "1-0:31.7.0(005*A)", "0-1:24.1.0(003)",
    "0-1:24.2.1(260412090000S)(00123.456*m3)",
)  # fmt: skip
_EXPECT: Mapping[str, Scalar | Absent] = {
    "energy.import": 3234.568, "energy.import.t1": 1234.567, "energy.export": 10.5, "tariff": 2, "power.export": 1250,
    "power": -1250, "voltage.l1": 231.4, "current.l1": 5, "gas.volume": 123.456,
}  # fmt: skip
_BODY = "\r\n".join(("/LMP5\\2LAMPPOST", "", *_LINES, "!")).encode()
_V2 = (
    b"/LMP4METER\r\n\r\n1-0:1.8.1(00001.001*kWh)\r\n"
    b"0-1:24.3.0(121030140000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00012.500)\r\n!\r\n"
)
_CAVEATS = ("The data line is inverted: use a cable made for P1.", "The request pin must be high.")


def _driver(
    model: str, products: tuple[str, ...], serial: Serial, crc: bool, vectors: tuple[Vector, ...]
) -> StreamDriver:
    return StreamDriver(
        model=model,
        points=POINTS,
        serial=serial,
        framing=DelimitedFraming(b"/", _END, LIMIT, sound if crc else sound_without_crc),
        decode=decode,
        period=10.0,
        documentation=Documentation(
            products, "DSMR 5.0.2 P1 companion standard and its forerunners", _CAVEATS
        ),
        vectors=vectors,
    )


DRIVERS = (
    _driver(
        "dsmr",
        (
            "any meter with P1 port, DSMR 4 and 5",
            "eSMR 5",
            "Fluvius P1",
            "Swedish and Hungarian P1 port",
        ),
        Serial(baud=115200),
        True,
        (
            Vector("hand-written telegram, CRC worked by hand", _EXPECT, _BODY + b"D95E\r\n"),
            Vector("wrong CRC", None, _BODY + b"0000\r\n"),
            Vector("no CRC", None, _BODY + b"\r\n"),
        ),
    ),
    _driver(
        "dsmr2",
        ("any meter with P1 port, DSMR 2.2 and 3",),
        Serial(baud=9600, parity="E", data_bits=7),
        False,
        (
            Vector(
                "hand-written telegram, no CRC", {"energy.import": 1.001, "gas.volume": 12.5}, _V2
            ),
        ),
    ),
)
