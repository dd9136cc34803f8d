"""A whole cabinet from a TOML file: lines, the units and sensors on them, and Modbus TCP servers.

    [[line]]         name, path, baud, bits, form, half_duplex, echo, bit_error_rate, granularity, silence, seed
    [[line.unit]]    unit, model (sdm630, sdm120, iem3255, dump, registers), delay, seed, pace, faults
    [[line.sensor]]  model (pms5003, sds011, p1, frames, answers), seed, period, faults
    [[line.mbus]]    frames (hex of long frames), address, delay, repeat, faults
    [[tcp]]          name, port (0: any free one); [[tcp.unit]] as above
    [[converter]]    name, port, pieces: M-Bus over TCP; [[converter.mbus]] as above
    [[i2c]] [[gpio]] see `boards`
    [[ble]]          see `radio`
    [[event]]        at (such as "60s"), do (a word of `site.Control`), and its arguments: line, unit, ...

`model = "dump"` takes `blocks = [{start = 0, registers_hex = "..."}]`; `"registers"` takes `registers = {0 = 1}`;
`"map"` takes `file`, a register map whose test vectors it then answers with. `repeat = 28` makes 28 units with
following unit ids and seeds. Sensor `"frames"` takes `frames = ["hex"]` to speak in turn, `"answers"` takes
`answers = { "hex heard" = ["hex said"] }`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hwsim.air import Pms5003, Sds011
from hwsim.boards import Board
from hwsim.line import Line
from hwsim.mbus import MBusMeter
from hwsim.mbus_tcp import MBusTcpServer
from hwsim.meters import METERS, Meter, RegisterDump
from hwsim.modbus import Faults, FaultyUnit, RtuUnit
from hwsim.modbus_pdu import Unit
from hwsim.modbus_tcp import ModbusTcpServer, TcpUnit
from hwsim.p1 import P1Meter
from hwsim.replay import Answers, Faulty, Frames
from hwsim.sunspec import SunSpecInverter

if TYPE_CHECKING:
    from hwsim.radio import Radio

Plan: TypeAlias = dict[str, Any]
Sensor: TypeAlias = Pms5003 | Sds011 | P1Meter | Frames | Answers
SENSORS: Mapping[str, Callable[..., Sensor]] = {
    "pms5003": Pms5003, "sds011": Sds011, "p1": P1Meter, "frames": Frames, "answers": Answers,
}  # fmt: skip


class SiteFileError(ValueError):
    """The cabinet's file cannot be built; the message says which part."""


class Truthful(Protocol):
    """Something that can tell what it measures at a moment."""

    def truth(self, now: float | None = None) -> dict[str, float]:
        """Quantity to value."""


def _unit_model(plan: Plan) -> Unit:
    model = plan.pop("model", None)
    if model == "dump":
        return RegisterDump.from_hex(plan.pop("blocks"))
    if model == "registers":
        cells = {int(at): int(word) for at, word in plan.pop("registers").items()}
        return Unit(holding=cells, inputs=cells)
    if model == "map":
        return vectors_of(Path(plan.pop("file")))
    if model == "sunspec":
        size = {key: plan.pop(key) for key in ("watts", "pace") if key in plan}
        return SunSpecInverter(seed=int(plan["seed"] if "seed" in plan else plan["unit"]), **size)
    if model not in METERS:
        known = ", ".join((*METERS, "sunspec", "dump", "registers", "map"))
        raise SiteFileError(f"unit model {model!r}: there are {known}")
    kept = {key: plan.pop(key) for key in ("refresh", "pace") if key in plan}
    seed = int(plan["seed"] if "seed" in plan else plan["unit"])
    return METERS[str(model)](seed=seed, **kept)


def vectors_of(file: Path) -> Unit:
    """A unit that answers with the registers in all test vectors of a register map, and refuses all others."""
    try:
        plan = tomllib.loads(file.read_text(encoding="utf-8"))
        cells = {
            int(start) + at: int(word)
            for vector in plan["vector"]
            for start, words in vector["registers"].items()
            for at, word in enumerate(words)
        }
    except OSError as error:
        raise SiteFileError(f"{file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SiteFileError(f"{file}: no register map with a [[vector]]: {error}") from error
    return Unit(holding=cells, inputs=cells)


def _repeated(plans: Sequence[Plan], key: str = "unit") -> Iterator[Plan]:
    for given in plans:
        plan = dict(given)
        for turn in range(int(plan.pop("repeat", 1))):
            counted = {name: plan[name] + turn for name in (key, "seed") if name in plan}
            yield {**plan, **counted}


def _unit(plan: Plan, kind: Callable[..., FaultyUnit]) -> FaultyUnit:
    plan = dict(plan)
    faults = Faults()
    faults.set(**plan.pop("faults", {}))
    model = _unit_model(plan)
    return kind(plan.pop("unit"), model, faults=faults, **plan)


def _sensor(plan: Plan) -> Faulty:
    plan = dict(plan)
    model, faults = plan.pop("model", None), plan.pop("faults", {})
    if model not in SENSORS:
        raise SiteFileError(f"sensor model {model!r}: there are {', '.join(SENSORS)}")
    return Faulty(SENSORS[model](**plan), **faults)


def _mbus(plan: Plan) -> tuple[int, Faulty]:
    plan = dict(plan)
    faults = plan.pop("faults", {})
    meter = MBusMeter([bytes.fromhex(frame) for frame in plan.pop("frames")], **plan)
    return meter.address, Faulty(meter, **faults)


def _radio(plan: Plan, folder: Path) -> Radio:
    try:
        from hwsim.radio import Radio
    except ImportError as error:
        raise SiteFileError(f"[[ble]] needs {error.name}: pip install 'lamppost[ble]'") from None
    return Radio(folder / "dbus", plan.get("sensor", []))


class Cabinet:
    """Everything in the file, running between `start` and `close`; also a context manager."""

    def __init__(
        self, plan: Mapping[str, Any], folder: Path, *, line: Callable[..., Line] = Line
    ) -> None:
        """`line` makes the serial lines; one that keeps them off the terminals plays in another time."""
        self.lines: dict[str, Line] = {}
        self._line = line
        self.servers: dict[str, ModbusTcpServer] = {}
        self.converters: dict[str, MBusTcpServer] = {}
        self._units: dict[str, dict[int, FaultyUnit]] = {}
        self._sensors: dict[str, list[Faulty]] = {}
        self._meters: dict[str, dict[int, Faulty]] = {}
        self.radios: dict[str, Radio] = {}
        self._stack = ExitStack()
        self.events: list[Plan] = list(plan.get("event", []))
        known = ("line", "tcp", "converter", "i2c", "gpio", "ble", "event")
        if unknown := set(plan).difference(known):
            raise SiteFileError(
                f"unknown table {sorted(unknown)[0]!r}: there are {', '.join(known)}"
            )
        try:
            self.board = Board(plan, folder / "dev")
            for each in plan.get("line", []):
                self._add_line(dict(each), folder)
            for server in plan.get("tcp", []):
                self._add_server(dict(server))
            for converter in plan.get("converter", []):
                self._add_converter(dict(converter))
            for radio in plan.get("ble", []):
                self.radios[radio.get("name", "ble")] = _radio(radio, folder)
        except SiteFileError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise SiteFileError(f"cabinet file: {type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, path: Path, folder: Path | None = None) -> Cabinet:
        """From a file; device paths are relative to `folder`, which is the file's own unless given."""
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(plan, (folder or path.parent).absolute())

    def _add_line(self, plan: Plan, folder: Path) -> None:
        name = plan.pop("name")
        units = [_unit(unit, RtuUnit) for unit in _repeated(plan.pop("unit", []))]
        sensors = [_sensor(sensor) for sensor in plan.pop("sensor", [])]
        path = folder / plan.pop("path", name)
        meters = dict(_mbus(meter) for meter in _repeated(plan.pop("mbus", []), "address"))
        self._meters[name] = meters
        devices = [
            *(unit for unit in units if isinstance(unit, RtuUnit)), *sensors, *meters.values()
        ]  # fmt: skip
        self.lines[name] = self._line(path, devices=devices, **plan)
        self._units[name] = {unit.unit: unit for unit in units}
        self._sensors[name] = sensors

    def _add_server(self, plan: Plan) -> None:
        name = plan.pop("name")
        units = [_unit(unit, TcpUnit) for unit in _repeated(plan.pop("unit", []))]
        self.servers[name] = ModbusTcpServer(units, **plan)
        self._units[name] = self.servers[name].units

    def _add_converter(self, plan: Plan) -> None:
        name = plan.pop("name")
        meters = dict(_mbus(meter) for meter in _repeated(plan.pop("mbus", []), "address"))
        self._meters[name] = meters
        self._units[name] = {}
        self.converters[name] = MBusTcpServer(meters.values(), **plan)

    def start(self) -> Cabinet:
        """Create every path and port."""
        for line in self.lines.values():
            self._stack.enter_context(line)
        for server in (*self.servers.values(), *self.converters.values()):
            self._stack.enter_context(server)
        self._stack.callback(self.board.close)
        self.board.start()
        for radio in self.radios.values():
            self._stack.callback(radio.close)
            radio.start()
        return self

    def close(self) -> None:
        """Take everything away."""
        self._stack.close()

    def __enter__(self) -> Cabinet:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def link(self, name: str) -> Line | ModbusTcpServer | MBusTcpServer:
        """A line or server by name; raises SiteFileError with the names there are."""
        found = self.lines.get(name) or self.servers.get(name) or self.converters.get(name)
        if found is None:
            raise SiteFileError(f"no line {name!r}: there are {', '.join(self.names())}")
        return found

    def names(self) -> list[str]:
        """Of everything that an event may name as its `line`."""
        return [*self.lines, *self.servers, *self.converters, *self.board.names, *self.radios]

    def adapter(self, name: str) -> Line | ModbusTcpServer | MBusTcpServer | Radio:
        """What can be pulled out."""
        return self.radios[name] if name in self.radios else self.link(name)

    def unit(self, line: str, unit: int) -> FaultyUnit:
        """A Modbus unit by its line and id."""
        self.link(line)
        if unit not in self._units[line]:
            raise SiteFileError(f"no unit {unit} on {line}: there are {sorted(self._units[line])}")
        return self._units[line][unit]

    def faulty(self, line: str, unit: int | None) -> list[FaultyUnit | Faulty]:
        """What can be given faults: a unit, an M-Bus meter by its address, or all sensors of a line."""
        if unit is None:
            self.link(line)
            return list(self._sensors.get(line, []))
        if unit in self._meters.get(line, {}):
            return [self._meters[line][unit]]
        return [self.unit(line, unit)]

    def set_silent(self, line: str, unit: int | str | None, *, silent: bool) -> None:
        """A device falls silent or speaks again, wherever it hangs. Raises SiteFileError for an unknown one."""
        if line in self.radios:
            sensors = self.radios[line].sensors
            if str(unit).upper() not in sensors:
                raise SiteFileError(f"no sensor {unit} at {line}: there are {', '.join(sensors)}")
            sensors[str(unit).upper()].silent = silent
        elif line in self.board.names:
            self.board.set_silent(line, int(unit or 0), silent=silent)
        else:
            for each in self.faulty(line, None if unit is None else int(unit)):
                each.faults.dead = silent

    def truthful(self, line: str, unit: int | None) -> Truthful:
        """What can tell the true values: a unit, or the line's sensor when no unit is named."""
        found = self.faulty(line, unit)
        if not found:
            raise SiteFileError(f"no sensor on {line}: name a unit")
        model = found[0].device if isinstance(found[0], Faulty) else found[0].model
        if not isinstance(model, Meter | Pms5003 | Sds011 | P1Meter):
            what = line if unit is None else f"unit {unit} on {line}"
            raise SiteFileError(f"{what} is no meter with a truth")
        return model
