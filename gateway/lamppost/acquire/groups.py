"""What of a register map is read together: groups of one period, in parts that the device allows. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lamppost.acquire import plan
from lamppost.acquire.device import Device
from lamppost.acquire.plan import Block
from lamppost_drivers.contract import Register, RegisterMap, Values
from lamppost_drivers.registermap import Decoder

_ASK_AGAIN = 3600.0
"""Seconds after which registers that a device refused are asked for once more."""
_SUNSPEC_BASE = Block("holding", 40000, 2, ())


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One request of a reading: its block, the points that it brings, and how to decode them."""

    block: Block
    names: tuple[str, ...]
    decode: Callable[[Sequence[int]], Values]
    whole: bool
    """Whether it brings all points of its group."""


class Group:
    """Registers of one device that are read together, in as few parts as the device allows. Learns from refusals."""

    def __init__(
        self,
        device: Device,
        driver: RegisterMap,
        registers: Sequence[Register],
        names: Iterable[str],
        period: float,
    ) -> None:
        """`names`: the points of its samples; those without a register are `not_available`."""
        self.device = device
        self.period = period
        self.rest = driver.turnaround
        self.names = tuple(names)
        self.parts: tuple[Part, ...] = ()
        self.refused: tuple[str, ...] = ()
        """Points that the device does not know."""
        self._driver = driver
        self._registers = tuple(registers)
        self._cuts: set[plan.Cut] = set()
        self._ask_again = 0.0
        self._plan()

    def refuse(self, part: Part, now: float) -> tuple[Part, ...]:
        """The device does not know all of a part: what to ask instead; nothing if it was a single register."""
        place = plan.cut(part.block)
        if place is None:
            self.refused += part.names
            self._ask_again = now + _ASK_AGAIN
        else:
            self._cuts.add(place)
        self._plan()
        return tuple(new for new in self.parts if set(new.names) <= set(part.names))

    def forgive(self, now: float) -> None:
        """Ask again for what was refused, once in a long while."""
        if self.refused and now >= self._ask_again:
            self.refused = ()
            self._plan()

    def _plan(self) -> None:
        wanted = [r for r in self._registers if r.point.name not in self.refused]
        found = plan.blocks(wanted, self._driver.max_words, self._driver.max_gap, self._cuts)
        self.parts = tuple(self._part(block) for block in found)

    def _part(self, block: Block) -> Part:
        names = tuple(register.point.name for register in block.registers)
        decode = Decoder(block.registers, block.address).decode
        if set(names) == set(self.names):
            return Part(block, self.names, decode, True)
        return Part(block, names, decode, False)


class MapDevice:
    """A device with its register map. One that describes itself has a single group without parts until it did."""

    def __init__(
        self, device: Device, driver: RegisterMap, every: float, periods: Mapping[str, float]
    ) -> None:
        """`periods` by poll group; `every` for groups that are not in it."""
        self.device = device
        self.rest = driver.turnaround
        self.discover = driver.discover if not driver.registers else None
        """What is still to be played before the device can be read."""
        self._every = every
        self._periods = dict(periods)
        if self.discover is None:
            self.groups, self.probe = self._grouped(driver)
        else:
            names = [point.name for point in device.points]
            self.groups = (Group(device, driver, (), names, every),)
            first = next(self.discover())
            self.probe = Block("holding", first.address, first.count, ())

    def adopt(self, driver: RegisterMap) -> None:
        """The device has described itself: from now on read this map of it."""
        self.discover = None
        self.groups, self.probe = self._grouped(driver)

    def _grouped(self, driver: RegisterMap) -> tuple[tuple[Group, ...], Block]:
        """Registers whose poll groups have one period are read together, as one sample."""
        wanted = {point.name for point in self.device.points}
        registers = [register for register in driver.registers if register.point.name in wanted]
        by_period: dict[float, list[Register]] = {}
        for register in registers:
            period = self._periods.get(register.poll, self._every)
            by_period.setdefault(period, []).append(register)
        groups = tuple(
            Group(self.device, driver, found, [r.point.name for r in found], period)
            for period, found in by_period.items()
        )
        return groups, plan.probe(registers) if registers else _SUNSPEC_BASE
