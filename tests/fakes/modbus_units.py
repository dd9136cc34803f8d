"""A Modbus link in memory with virtual time: units by id, each with cells, a turnaround and things that go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from lamppost.errors import LinkError
from lamppost.links import faults
from lamppost.links.modbus_link import Table


@dataclass
class FakeUnit:
    """`refuse`: addresses that are refused as illegal; `exception`: every answer is this one; `damaged`: so many
    answers are corrupt."""

    cells: dict[int, int]
    dead: bool = False
    takes: float = 0.05
    refuse: frozenset[int] = frozenset()
    exception: int = 0
    damaged: int = 0
    max_words: int = 125


@dataclass
class FakeLink:
    """Implements `links.modbus_link.ModbusLink`; `asked` holds (time, unit, address, count) of every request."""

    units: dict[int, FakeUnit]
    timeout: float = 0.3
    late: float = 1.0
    stray: int = 0
    where: str = "fake"
    missing: bool = False
    opened: bool = False
    opens: int = 0
    seen: dict[int, float] = field(default_factory=dict)
    asked: list[tuple[float, int, int, int]] = field(default_factory=list)

    def usual(self, unit: int) -> float:
        slowest = self.seen.get(unit) or max(self.seen.values(), default=self.timeout)
        return min(self.timeout, 2 * slowest + 0.04)

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.opens += 1
        if self.missing:
            raise LinkError("no such port", code="link.missing", hint="plug it in", retry=True)
        self.opened = True

    def close(self) -> None:
        self.opened = False

    async def read(
        self,
        unit: int,
        table: Table,
        address: int,
        count: int,
        *,
        timeout: float | None = None,
        rest: float = 0.0,
    ) -> Sequence[int]:
        del table, rest
        if not self.opened or self.missing:
            self.opened = False
            raise faults.lost(self.where)
        self.asked.append((asyncio.get_running_loop().time(), unit, address, count))
        found = self.units.get(unit)
        what = f"unit {unit}"
        wait = self.timeout if timeout is None else timeout
        if found is None or found.dead or found.takes > wait:
            await asyncio.sleep(wait)
            raise faults.no_answer(what, wait)
        await asyncio.sleep(found.takes)
        self.seen[unit] = max(self.seen.get(unit, 0.0), found.takes)
        if found.damaged:
            found.damaged -= 1
            raise faults.corrupt(what, b"??", ended=True)
        if found.exception:
            raise faults.RefusedError(what, found.exception)
        wanted = range(address, address + count)
        if count > found.max_words:
            raise faults.RefusedError(what, 3)
        if found.refuse.intersection(wanted):
            raise faults.RefusedError(what, 2)
        return [found.cells.get(at, 0) for at in wanted]
