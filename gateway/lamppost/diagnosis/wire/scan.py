"""Who is on a Modbus line? Every unit id is asked once, whoever answers is then looked at: model, word order, serial.

A model is named by a register that tells it, or else by plausibility: voltage and frequency of its map in the order of
its map. What only fits is said to fit, never to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lamppost.diagnosis.facts import Trial
from lamppost.diagnosis.wire import frames, known, orders
from lamppost.diagnosis.wire.ask import FUNCTIONS, Ask
from lamppost.diagnosis.wire.line import RawLine, text_of
from lamppost.diagnosis.wire.rtu import whole
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import RegisterMap

SILENCE = 0.2
"""Seconds for a first answer: 247 ids take 51 s, with the time of the requests."""
_PLACES = (Ask(4, 0, 2), Ask(3, 0, 2))
_TWICE = 2


@dataclass(slots=True)
class Resident:
    """A unit that answers. `proved`: a register told its model; else `fits` are models whose values are plausible."""

    unit: int
    line: str
    proved: str = ""
    fits: list[str] = field(default_factory=list)
    order: str = ""
    told: str = ""
    serial: int | None = None
    doubled: bool = False

    @property
    def model(self) -> str:
        """The best guess, empty without one."""
        return self.proved or (self.fits[0] if self.fits else "")


Tell = Callable[[str], None]


class Scan:
    """One line at its present settings."""

    def __init__(
        self,
        raw: RawLine,
        line: LineSettings,
        wait: float,
        models: Iterable[RegisterMap],
        tell: Tell,
    ) -> None:
        self._raw = raw
        self._line = line
        self._wait = wait
        self._models = sorted(models, key=_worth)
        self._tell = tell

    async def run(self, units: Sequence[int], shown: Callable[[Resident], None]) -> list[Resident]:
        """Ask all; `shown` is told of each at once. Raises LinkError."""
        await self._raw.use(self._line)
        found: list[Resident] = []
        for turn, unit in enumerate(units):
            left = (len(units) - turn) * (SILENCE + 0.01)
            self._tell(f"unit {unit}, {len(found)} found, about {left:.0f} s to go")
            if await self._is_there(unit):
                resident = await self._look(unit)
                shown(resident)
                found.append(resident)
        return found

    async def _is_there(self, unit: int) -> bool:
        """One request that every unit answers, be it with an exception."""
        trial = await self._ask(unit, _PLACES[0], SILENCE)
        return trial.outcome != "silent"

    async def _look(self, unit: int) -> Resident:
        resident = Resident(unit, text_of(self._line))
        for ask, models in _marks():
            trial = await self._ask(unit, ask, self._wait)
            if trial.outcome == "good" and _number(trial.values) in models:
                resident.proved = models[_number(trial.values)]
                break
        for driver in self._candidates(resident):
            if await self._fits(unit, driver, resident) and resident.proved:
                break
        await self._serial(unit, resident)
        return resident

    def _candidates(self, resident: Resident) -> Iterator[RegisterMap]:
        for driver in self._models:
            if not resident.proved or driver.model == resident.proved:
                yield driver

    async def _fits(self, unit: int, driver: RegisterMap, resident: Resident) -> bool:
        """Whether voltage or frequency of a map is plausible, twice; a proved model may have another word order."""
        register = orders.telling(driver)
        if register is None:
            return False
        low, high = orders.KNOWN[register.point.unit]
        ask = Ask(FUNCTIONS[register.table], register.address, 2)
        seen: list[dict[str, float]] = []
        for _ in range(_TWICE):
            trial = await self._ask(unit, ask, self._wait)
            if trial.outcome != "good" or len(trial.values) != 2:
                return False
            resident.doubled = resident.doubled or any(
                bytes.fromhex(extra)[:1] == bytes((unit,)) for extra in trial.extra
            )
            seen.append(orders.readings(register, trial.values))
        right = [n for n in orders.ORDERS if all(low <= each[n] <= high for each in seen)]
        if register.word_order in right:
            order = register.word_order
        elif resident.proved and len(right) == 1:
            order = right[0]
        else:
            return False
        if not resident.fits:
            resident.order = order
            resident.told = f"{register.point.name} {seen[0][order]:.4g} {register.point.unit}"
        resident.fits.append(driver.model)
        return True

    async def _serial(self, unit: int, resident: Resident) -> None:
        for row in known.table()["serial"]:
            if resident.proved in row["models"]:
                ask = Ask(row["function"], row["address"], row["count"])
                trial = await self._ask(unit, ask, self._wait)
                if trial.outcome == "good":
                    resident.serial = _number(trial.values)

    async def _ask(self, unit: int, ask: Ask, wait: float) -> Trial:
        request = frames.read_frame(unit, ask.function, ask.address, ask.count)
        heard = await whole(self._raw, request, wait, 0.06 if wait > SILENCE else 0.03)
        return frames.judged(request, heard, text_of(self._line), self._wait)


def _marks() -> Iterator[tuple[Ask, Mapping[int, str]]]:
    """Each place that tells a model, once, with the models by what it reads."""
    places: dict[Ask, dict[int, str]] = {}
    for row in known.table()["mark"]:
        models = places.setdefault(Ask(row["function"], row["address"], row["count"]), {})
        models.update(dict.fromkeys((row["equals"], *row.get("also", ())), row["models"][0]))
    yield from places.items()


def _number(words: Sequence[int]) -> int:
    found = 0
    for word in words:
        found = found << 16 | word
    return found


def _worth(driver: RegisterMap) -> tuple[int, str]:
    """Maps with more points first: they fit by chance less often."""
    return -len(driver.points), driver.model
