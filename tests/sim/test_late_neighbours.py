"""A unit that answers late speaks while others are asked: on one pair of wires both are destroyed. Virtual time.

The others' readings stay good, a unit that is dead stays "no answer", and no value is ever another request's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from fakes.virtual_clock import VirtualClock, run
from fakes.virtual_ports import Ports
from hwsim.modbus import RtuUnit
from hwsim.modbus_pdu import Unit
from hwsim.wire import Wire
from lamppost.errors import LinkError
from lamppost.links.rtu import RtuLink
from lamppost.links.serial import LineSettings

PATH = Path("/virtual/tty")
WORDS = {at: at for at in range(0x10000)}
LATES = [0.3 + 0.01 * n for n in range(70)]
"""From the time-out to the end of the quiet period, in steps shorter than a frame at 9600 baud."""


class Dawdler(RtuUnit):
    """Answers late at random, up to `longest` after the request."""

    def __init__(self, unit: int, rate: float, longest: float) -> None:
        super().__init__(unit, Unit(inputs=WORDS))
        self._rate, self._longest, self._dice = rate, longest, random.Random(unit)

    def respond(self, pdu: bytes, now: float) -> tuple[float, bytes] | None:
        answer = super().respond(pdu, now)
        if answer is None or self._dice.random() >= self._rate:
            return answer
        return self._dice.uniform(0.02, self._longest), answer[1]


async def opened(
    patch: pytest.MonkeyPatch,
    clock: VirtualClock,
    wire: Wire,
    *units: RtuUnit,
    timeout: float = 0.3,
) -> RtuLink:
    ports = Ports(clock)
    ports.install(patch)
    ports.add(PATH, wire, *units)
    link = RtuLink(PATH, LineSettings(wire.baud or 9600), timeout)
    await link.open()
    return link


def test_neighbours_of_a_late_unit_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever its answer comes: before, within and after the request or the answer of the next."""
    hit = 0

    async def main(clock: VirtualClock) -> None:
        nonlocal hit
        for late in LATES:
            units = [RtuUnit(n, Unit(inputs=WORDS)) for n in (1, 2, 3)]
            wire = Wire(9600, seed=1)
            link = await opened(monkeypatch, clock, wire, *units)
            units[0].faults.late, units[0].faults.late_every = late, 1
            with pytest.raises(LinkError) as silent:
                await link.read(1, "input", 0, 2)
            assert silent.value.code == "link.no-answer"
            for turn in range(20):
                unit, address = 2 + turn % 2, 10 * turn
                words = await link.read(unit, "input", address, 4)
                assert list(words) == [WORDS[address + at] for at in range(4)], late
            hit += wire.stats.collisions
            link.close()

    run(main)
    assert hit >= 10


def test_a_dead_unit_is_not_called_damaged_for_a_late_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        late, dead = (RtuUnit(n, Unit(inputs=WORDS)) for n in (1, 2))
        link = await opened(monkeypatch, clock, Wire(9600), late, dead)
        late.faults.late, late.faults.late_every, dead.faults.dead = 0.4, 1, True
        for unit in (1, 2):
            with pytest.raises(LinkError) as silent:
                await link.read(unit, "input", 0, 2)
            assert silent.value.code == "link.no-answer"
        link.close()

    run(main)


def many_late(patch: pytest.MonkeyPatch, polls: int, rates: Mapping[int, float]) -> Counter[str]:
    """Poll units in turn, each time from another address; some dawdle beyond the quiet period."""
    seen = Counter[str]()

    async def main(clock: VirtualClock) -> None:
        wire = Wire(19200, seed=3)
        units = [Dawdler(n, rate, 1.6) for n, rate in rates.items()]
        link = await opened(patch, clock, wire, *units, timeout=0.05)
        for number in range(polls):
            unit, address = units[number % len(units)].unit, number % 0xFFF0
            try:
                words = await link.read(unit, "input", address, 4)
            except LinkError as error:
                seen[error.code] += 1
                seen["hurt"] += not rates[unit]
            else:
                right = list(words) == [WORDS[address + at] for at in range(4)]
                seen["right" if right else "WRONG"] += 1
        link.close()
        seen["collisions"] = wire.stats.collisions

    run(main)
    return seen


def test_late_answers_of_many_are_never_wrong_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = many_late(monkeypatch, 1000, {1: 0.05, 2: 0.0, 3: 0.05, 4: 0.02, 5: 0.0})
    assert (seen["WRONG"], seen["hurt"]) == (0, 0), seen
    assert seen["link.no-answer"] >= 10
    assert seen["right"] >= 900, seen


@pytest.mark.long
def test_late_answers_of_many_in_ten_thousand_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = many_late(monkeypatch, 10_000, {1: 0.3, 2: 0.0, 3: 0.2, 4: 0.1, 5: 0.0})
    assert (seen["WRONG"], seen["hurt"]) == (0, 0), seen
    assert min(seen["link.no-answer"], seen["collisions"]) >= 100, seen
