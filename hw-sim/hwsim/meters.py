"""Energy meters as register models: Eastron SDM630 and SDM120, Schneider iEM3255, and dumps of real devices.

Addresses are those on the wire (zero-based), from the makers' register lists. Values evolve and are reproducible:
`truth(now)` tells what a meter holds at a moment, in V, A, W, VA, var, Hz, degrees, %, kWh and kvarh.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwsim.load import Phase, quantities
from hwsim.modbus_pdu import ILLEGAL_ADDRESS, Cells, Refusal, Unit


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a register table; the register holds the true value times `times`."""

    address: int
    quantity: str
    kind: str = "float32"
    times: float = 1.0

    @property
    def count(self) -> int:
        """Registers it fills."""
        return 4 if self.kind == "int64" else 2

    def words(self, value: float) -> Sequence[int]:
        """The value as registers, the most significant first."""
        if self.kind == "int64":
            return struct.unpack(">4H", struct.pack(">q", round(value * self.times)))
        return struct.unpack(">2H", struct.pack(">f", value * self.times))


def _run(start: int, step: int, names: Iterable[str]) -> list[Field]:
    return [Field(start + step * at, name) for at, name in enumerate(names)]


_PHASES = ("l1", "l2", "l3")


def _each(*quantities: str) -> list[str]:
    return [f"{quantity}.{phase}" for quantity in quantities for phase in _PHASES]


_SDM120 = [
    *_run(
        0, 6, ("voltage", "current", "power", "apparent_power", "reactive_power", "power_factor")
    ),
    Field(70, "frequency"),
    *_run(
        72,
        2,
        ("energy.import", "energy.export", "reactive_energy.import", "reactive_energy.export"),
    ),
    *_run(342, 2, ("energy.total", "reactive_energy.total")),
]
_ENERGY_WAYS = ("energy.import", "energy.export", "energy.total")
_SDM630 = [
    *_run(
        0,
        2,
        _each("voltage", "current", "power", "apparent_power", "reactive_power", "power_factor"),
    ),
    Field(52, "power"),
    Field(56, "apparent_power"),
    Field(60, "reactive_power"),
    Field(62, "power_factor"),
    Field(66, "phase_angle"),
    *_SDM120[6:11],
    *_run(234, 2, _each("voltage_thd")),
    Field(248, "voltage_thd"),
    *_SDM120[11:],
    *_run(346, 2, _each(*_ENERGY_WAYS, *(f"reactive_{way}" for way in _ENERGY_WAYS))),
]
_IEM3255 = [
    *_run(2999, 2, _each("current")),
    Field(3009, "current.average"),
    *_run(3027, 2, _each("voltage")),
    Field(3035, "voltage.average"),
    *(
        Field(3053 + 2 * at, name, times=0.001)
        for at, name in enumerate((*_each("power"), "power"))
    ),
    Field(3067, "reactive_power", times=0.001),
    Field(3075, "apparent_power", times=0.001),
    Field(3109, "frequency"),
    Field(3203, "energy.import", "int64", 1000),
    Field(3207, "energy.export", "int64", 1000),
    Field(3219, "reactive_energy.import", "int64", 1000),
    Field(3223, "reactive_energy.export", "int64", 1000),
    *(Field(3517 + 4 * at, name, "int64", 1000) for at, name in enumerate(_each("energy.import"))),
]


class MeterTable:
    """The registers of a meter at the moment of the request.

    `holes`: address ranges without a value that answer zero, as Eastron's do inside their list; all else is refused.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        truth: Callable[[float], Mapping[str, float]],
        holes: Iterable[range] = (),
    ) -> None:
        self._truth = truth
        self._owner = {
            at: field
            for field in fields
            for at in range(field.address, field.address + field.count)
        }
        self._known = set(self._owner).union(*holes)

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        span = range(address, address + count)
        if not self._known.issuperset(span):
            raise Refusal(ILLEGAL_ADDRESS)
        truth = self._truth(now)
        words: list[int] = []
        for at in span:
            field = self._owner.get(at)
            words.append(field.words(truth[field.quantity])[at - field.address] if field else 0)
        return words

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        del address, values, now
        raise Refusal(ILLEGAL_ADDRESS)


class Meter(Unit):
    """A meter whose values renew once in `refresh` seconds. `epoch`: the moment at which it began (default now).

    `pace`: how many seconds pass in the meter during one of ours, so that energies can be seen to grow.
    """

    def __init__(
        self,
        phases: Sequence[str],
        watts: float,
        *,
        seed: int = 0,
        epoch: float | None = None,
        refresh: float = 1.0,
        pace: float = 1.0,
        max_words: int = 125,
    ) -> None:
        super().__init__(max_words=max_words)
        self._phases = {
            name: Phase(f"{type(self).__name__}/{seed}/{name}", watts) for name in phases
        }
        self._epoch = time.monotonic() if epoch is None else epoch
        self._refresh = refresh
        self._pace = pace

    def truth(self, now: float | None = None) -> dict[str, float]:
        """Every quantity at `now`, seconds of `time.monotonic`; what a request at that moment is answered with."""
        passed = max(0.0, (time.monotonic() if now is None else now) - self._epoch)
        if self._refresh > 0:
            passed = passed // self._refresh * self._refresh
        return quantities(self._phases, passed * self._pace)


def _eastron_holding(code: int, seed: int) -> Cells:
    """Serial number (two registers) and meter code, of which the makers' lists say no more."""
    serial = 21_000_000 + seed
    return Cells({0xFC00: serial >> 16, 0xFC01: serial & 0xFFFF, 0xFC02: code}, writable=False)


class Sdm630(Meter):
    """Eastron SDM630-Modbus V2: three phases, function 4, float32, at most 80 registers a request."""

    def __init__(
        self, *, seed: int = 0, epoch: float | None = None, refresh: float = 1.0, pace: float = 1.0
    ) -> None:
        super().__init__(
            _PHASES, 4000.0, seed=seed, epoch=epoch, refresh=refresh, pace=pace, max_words=80
        )
        self.inputs = MeterTable(_SDM630, self.truth, [range(382)])
        self.holding = _eastron_holding(0x70, seed)


class Sdm120(Meter):
    """Eastron SDM120-Modbus: one phase, function 4, float32, at most 80 registers a request."""

    def __init__(
        self, *, seed: int = 0, epoch: float | None = None, refresh: float = 1.0, pace: float = 1.0
    ) -> None:
        super().__init__(
            ("",), 800.0, seed=seed, epoch=epoch, refresh=refresh, pace=pace, max_words=80
        )
        self.inputs = MeterTable(_SDM120, self.truth, [range(346)])
        self.holding = _eastron_holding(0x20, seed)


class Iem3255(Meter):
    """Schneider iEM3255: three phases, function 3, float32 in kW and int64 in Wh; what is not listed is refused."""

    def __init__(
        self, *, seed: int = 0, epoch: float | None = None, refresh: float = 1.0, pace: float = 1.0
    ) -> None:
        super().__init__(_PHASES, 12_000.0, seed=seed, epoch=epoch, refresh=refresh, pace=pace)
        holes = [range(2999, 3112), range(3203, 3227), range(3517, 3529)]
        self.holding = MeterTable(_IEM3255, self.truth, holes)


class RegisterDump(Unit):
    """Serves exactly these blocks, in both register tables: `RegisterDump({0: [0x4366, 0x3333]})`."""

    def __init__(self, blocks: Mapping[int, Sequence[int]], *, max_words: int = 125) -> None:
        cells = {
            start + at: word for start, words in blocks.items() for at, word in enumerate(words)
        }
        super().__init__(holding=cells, inputs=cells, max_words=max_words)

    @classmethod
    def from_hex(cls, blocks: Iterable[Mapping[str, object]]) -> RegisterDump:
        """From rows of `start` and `registers_hex`, as captured dumps are written down."""
        words: dict[int, Sequence[int]] = {}
        for block in blocks:
            data = bytes.fromhex(str(block["registers_hex"]))
            words[int(str(block["start"]))] = struct.unpack(f">{len(data) // 2}H", data)
        return cls(words)


METERS: Mapping[str, type[Sdm630 | Sdm120 | Iem3255]] = {
    "sdm630": Sdm630,
    "sdm120": Sdm120,
    "iem3255": Iem3255,
}
