"""What of a site is asked on a Modbus line, and how: plain values made from site file and drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lamppost.acquire.plan import blocks
from lamppost.config.schema import DeviceSettings
from lamppost.diagnosis.wire import known, orders
from lamppost.diagnosis.wire.ask import FUNCTIONS, Ask
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import Register, RegisterMap

LONG = 40
"""Registers of a long answer, where a model allows so many: damage grows with length."""

BAUDS = (9600, 19200, 2400, 4800, 38400, 115200, 57600, 1200)
FORMS = (("N", 1), ("E", 1), ("O", 1), ("N", 2))


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """How one unit is asked: its cheapest register, a long block, what tells the word order and the model."""

    device: str
    model: str
    unit: int
    short: Ask
    long: Ask | None
    telling: Register | None
    marks: tuple[known.Mark, ...]
    serial: Ask | None
    factory: LineSettings


@dataclass(frozen=True, slots=True)
class LinePlan:
    """A line with its units as the site file has it."""

    link: str
    kind: str
    where: str
    line: LineSettings
    timeout: float
    units: tuple[UnitPlan, ...]


def unit_plan(settings: DeviceSettings, driver: RegisterMap) -> UnitPlan | None:
    """How to ask a device; None for a model that must first describe itself and says nothing before."""
    serial = driver.serial
    factory = LineSettings(serial.baud, serial.parity, serial.stop_bits, serial.data_bits)
    marks, serial_number = known.of_model(driver)
    registers = [r for r in driver.registers if r.table in ("input", "holding")]
    if not registers:
        if driver.discover is None:
            return None
        # what it describes itself by: "SunS" at 40000 (SunSpec), or a setting
        first = next(driver.discover())
        short = Ask(3, first.address, first.count)
        return UnitPlan(
            settings.name, driver.model, settings.unit or 0, short, None, None, marks, None, factory
        )
    return UnitPlan(
        settings.name,
        driver.model,
        settings.unit or 0,
        _short(registers),
        _long(driver, registers),
        orders.telling(driver),
        marks,
        serial_number,
        factory,
    )


def _short(registers: Sequence[Register]) -> Ask:
    first = min(registers, key=lambda r: (r.words, r.address))
    return Ask(FUNCTIONS[first.table], first.address, first.words)


def _long(driver: RegisterMap, registers: Sequence[Register]) -> Ask | None:
    """The longest block that the model's own map reads at once."""
    found = blocks(registers, min(driver.max_words, LONG), driver.max_gap)
    best = max(found, key=lambda block: block.count)
    return Ask(FUNCTIONS[best.table], best.address, best.count) if best.count > 6 else None


def sweep(plan: LinePlan) -> Iterator[LineSettings]:
    """Settings to try, the likely ones first: how its units leave the factory, the same speed, then the usual."""
    tried = {plan.line}
    factories = [unit.factory for unit in plan.units]
    same_speed = [LineSettings(plan.line.baud, p, s) for p, s in FORMS]  # type: ignore[arg-type]
    usual = [LineSettings(baud, p, s) for p, s in FORMS[:3] for baud in BAUDS]  # type: ignore[arg-type]
    for line in (*factories, *same_speed, *usual):
        # A stop bit more or less is invisible to a receiver: one of both is enough.
        shape = LineSettings(line.baud, line.parity, 1)
        if line not in tried and shape not in tried:
            tried.update((line, shape))
            yield line
