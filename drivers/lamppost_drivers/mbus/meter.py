"""Meters on wired M-Bus, one driver a medium: reset, ask, ask again while more follows, and name what came.

An address up to 250 is primary; a larger one is the meter's number of eight digits (secondary addressing).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from lamppost_drivers.contract import (
    Absent,
    Documentation,
    Exchange,
    ExchangeDriver,
    FrameError,
    Kind,
    Point,
    Read,
    Scalar,
    Serial,
    Values,
    Vector,
    Write,
)
from lamppost_drivers.framing import MbusFraming, first
from lamppost_drivers.mbus.frame import ACK, LONGEST, SELECTED, answer, ask, reset, select
from lamppost_drivers.mbus.records import INSTANT, Record, Telegram, telegram

HIGHEST_PRIMARY = 250
MOST_ANSWERS = 10
_BACKWARD, _FORWARD = (
    0x3C,
    0x3B,
)  # VIF extensions: counts only what flows back, only what flows forward
_BUSY = 0x01

# quantity → (point, factor by unit)
_TO_KWH: Mapping[str, float] = {"Wh": 1e-3, "J": 1 / 3.6e6}
_TO_W: Mapping[str, float] = {"W": 1, "J/h": 1 / 3600}
_TO_M3H: Mapping[str, float] = {"m3/h": 1, "m3/min": 60, "m3/s": 3600}
_NAMES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "energy": ("energy", _TO_KWH),
    "volume": ("volume", {"m3": 1}),
    "power": ("power", _TO_W),
    "flow": ("flow", _TO_M3H),
    "flow temperature": ("temperature.supply", {"Cel": 1}),
    "return temperature": ("temperature.return", {"Cel": 1}),
    "temperature difference": ("temperature.difference", {"K": 1}),
    "external temperature": ("temperature", {"Cel": 1}),
    "relative humidity": ("humidity", {"%RH": 1}),
    "voltage": ("voltage", {"V": 1}),
    "current": ("current", {"A": 1}),
    "pressure": ("pressure", {"bar": 1e5}),
    "heat cost": ("heat_cost", {"HCA": 1}),
    "operating time": ("operating_time", {"s": 1}),
}
_POINTS: Mapping[str, Point] = {
    point.name: point
    for point in (
        Point("energy", "kWh", 0, 1e9, Kind.COUNTER),
        Point("volume", "m3", 0, 1e9, Kind.COUNTER),
        Point("power", "W", -1e8, 1e8),
        Point("flow", "m3/h", -10_000, 10_000),
        Point("temperature.supply", "Cel", 0, 200),
        Point("temperature.return", "Cel", 0, 200),
        Point("temperature.difference", "K", -50, 200),
        Point("temperature", "Cel", -50, 100),
        Point("humidity", "%RH", 0, 100),
        Point("voltage", "V", 0, 300),
        Point("current", "A", 0, 6000),
        Point("pressure", "Pa", 0, 1e8),
        Point("heat_cost", "/", 0, 1e9, Kind.COUNTER),
        Point("operating_time", "s", 0, 4e9, Kind.COUNTER),
        Point("status", "/", 0, 0.5),
    )
}
_HEAT = {"energy": "energy.heat", "power": "power.heat"}
_MEDIA: Mapping[str, tuple[frozenset[int], Mapping[str, str], str]] = {
    "mbus-water": (frozenset((0x06, 0x07, 0x15, 0x16, 0x17, 0x28)), {}, "water meter"),
    "mbus-heat": (frozenset((0x04, 0x0A, 0x0B, 0x0C, 0x0D)), _HEAT, "heat or cooling meter"),
    "mbus-electricity": (frozenset((0x02,)), {"energy": "energy.import"}, "electricity meter"),
    "mbus-gas": (frozenset((0x03,)), {"volume": "gas.volume", "flow": "gas.flow"}, "gas meter"),
    "mbus-meter": (frozenset(), {"energy": "energy.total"}, "device"),
}


def measure(model: str, address: int) -> Exchange:
    """Read a meter out: all answers it has. Raises FrameError for another medium than the model's, or another meter."""
    target = address if address <= HIGHEST_PRIMARY else SELECTED
    yield Write(reset(target))
    # With nobody selected, nobody acknowledges: not an error.
    yield Read(len(ACK), optional=target == SELECTED)
    if target == SELECTED:
        yield Write(select(address))
        if (yield Read(len(ACK))) != ACK:
            raise FrameError(f"no meter, or more than one, has the number {address:08d}")
    values: dict[str, Scalar | Absent] = {}
    for turn in range(MOST_ANSWERS):
        yield Write(ask(target, toggled=turn % 2 == 0))
        got = answer(first(MbusFraming(), (yield Read(LONGEST))))
        said = telegram(got.ci, got.data)
        number, selected = said.header.identification, target == SELECTED
        if (selected and number != f"{address:08d}") or (not selected and got.address != target):
            # A late answer to somebody else's question.
            raise FrameError(f"meter {number}, address {got.address}, answered")
        for name, value in named(model, said).items():
            values.setdefault(name, value)
        if not said.more:
            return values
    raise FrameError(f"the meter had more than {MOST_ANSWERS} answers")


def named(model: str, said: Telegram) -> Values:
    """The values of one answer by point name; what has no name here is left out."""
    media, renamed, _ = _MEDIA[model]
    if media and said.header.medium not in media:
        raise FrameError(f"the meter's medium is {said.header.medium:#04x}, which is not {model}")
    if said.header.status & 0x03 == _BUSY:
        raise FrameError("the meter is busy")
    values: dict[str, Scalar | Absent] = {"status": said.header.status}
    for record in said.records:
        found = _named(record, renamed)
        if found and found[0] in _DECLARED[model]:
            values.setdefault(*found)
    return values


def model_of_medium(medium: int) -> str:
    """The model that reads meters of this medium (EN 13757-3, table 8); `mbus-meter` for all others."""
    return next((model for model, (media, _, _) in _MEDIA.items() if medium in media), "mbus-meter")


def _named(record: Record, renamed: Mapping[str, str]) -> tuple[str, Scalar | Absent] | None:
    """A record's point and value: what holds now, in the meter itself, with no extension that changes its sense."""
    base, factors = _NAMES.get(record.quantity, ("", {}))
    plain = record.function == INSTANT and record.storage == 0 and record.subunit == 0
    backward = record.modifiers == (_BACKWARD,)
    if (
        record.unit not in factors
        or not plain
        or not (backward or record.modifiers in ((), (_FORWARD,)))
    ):
        return None
    name = renamed.get(base, base)
    if backward:
        name = "energy.export" if name == "energy.import" else f"{name}.reverse"
    if record.tariff:
        name = f"{name}.t{record.tariff}"
    if record.value is None or isinstance(record.value, str):
        return name, Absent.NOT_AVAILABLE
    factor = factors[record.unit]
    return name, record.value * factor if factor >= 1 else record.value / round(1 / factor)


def _points(renamed: Mapping[str, str]) -> tuple[Point, ...]:
    points: list[Point] = []
    for base, point in _POINTS.items():
        name = renamed.get(base, base)
        names = [name]
        if point.kind is Kind.COUNTER and base in ("energy", "volume"):
            names += ["energy.export" if name == "energy.import" else f"{name}.reverse"]
            names += [f"{name}.t{tariff}" for tariff in (1, 2, 3, 4)]
        points += (Point(each, point.unit, point.low, point.high, point.kind) for each in names)
    return tuple(points)


_DECLARED: Mapping[str, frozenset[str]] = {
    model: frozenset(point.name for point in _points(renamed))
    for model, (_, renamed, _) in _MEDIA.items()
}
_RESET_ANSWER = bytes.fromhex("e5")
_VECTORS: Mapping[str, tuple[str, Values]] = {
    "mbus-water": (
        "68151568080172785634122d2c0107050000000413153100005216",
        {"volume": 12.565, "status": 0},
    ),
    "mbus-heat": (
        "68242468080172785634122d2c0104050000000406ce860000025ad402025ea201840106010000001116",
        {"energy.heat": 34510.0, "temperature.supply": 72.4, "temperature.return": 41.8},
    ),
    "mbus-electricity": (
        "68171768080172785634122d2c0102050800000e037856341200001d16",
        {"energy.import": 12345.678, "status": 8},
    ),
    "mbus-gas": (
        "68151568080172785634122d2c0103050000000c14785634122516",
        {"gas.volume": 123456.78},
    ),
    "mbus-meter": ("68131368080172785634122d2c011b050000000266d7004816", {"temperature": 21.5}),
}


def _driver(model: str) -> ExchangeDriver:
    _, renamed, product = _MEDIA[model]
    text, expect = _VECTORS[model]
    frame = bytes.fromhex(text)
    return ExchangeDriver(
        model=model,
        bus="mbus",
        points=_points(renamed),
        measure=partial(measure, model),
        documentation=Documentation(
            (f"any {product} with wired M-Bus",),
            "EN 13757-2 and EN 13757-3",
            (
                "A unit up to 250 is the primary address, a larger one the meter's number (secondary address).",
                "status is the status byte of the meter: 4 battery low, 8 permanent error, 16 temporary error.",
            ),
        ),
        vectors=(
            Vector("hand-encoded", expect, reply=(_RESET_ANSWER, frame)),
            Vector(
                "wrong sum",
                None,
                reply=(_RESET_ANSWER, frame[:-2] + bytes((frame[-2] ^ 0x40, 0x16))),
            ),
        ),
        serial=Serial(baud=2400, parity="E"),
    )


DRIVERS = tuple(_driver(model) for model in _MEDIA)
