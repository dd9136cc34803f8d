"""Whose damage it is: a unit's own while its neighbours are clean, the line's where they are damaged too."""

from __future__ import annotations

import pytest

from lamppost.diagnosis.checks import bus_line
from lamppost.diagnosis.facts import Line, Trial, Unit

GOOD, DAMAGED, SILENT = (Trial("9600 8N1", outcome) for outcome in ("good", "damaged", "silent"))


def unit(number: int, *trials: Trial) -> Unit:
    return Unit(f"meter-{number}", "sdm120", number, trials=list(trials))


def line(*units: Unit, idle_bytes: int = 0, idle_zeros: int = 0) -> Line:
    return Line(
        link="rs485-1", kind="modbus-rtu", where="/dev/ttyUSB0", line="9600 8N1", timeout=0.3, tested=True,
        units=list(units), idle_bytes=idle_bytes, idle_zeros=idle_zeros,
    )  # fmt: skip


def named(seen: Line) -> list[str]:
    return [finding.id for finding in bus_line.check(seen, [])]


@pytest.mark.parametrize("mine", [[DAMAGED] * 4, [GOOD, DAMAGED, DAMAGED]])
def test_beside_clean_neighbours_it_may_be_two(mine: list[Trial]) -> None:
    assert named(line(unit(1, *mine), unit(2, *[GOOD] * 5))) == ["bus.duplicate-suspect"]


def test_where_neighbours_are_damaged_too_it_is_the_line() -> None:
    seen = line(unit(1, *[DAMAGED] * 8), unit(2, GOOD, DAMAGED, GOOD), unit(3, *[SILENT] * 3))
    assert named(seen) == ["bus.silent-unit", "bus.noisy-line"]


def test_one_clean_neighbour_does_not_make_the_others_two() -> None:
    seen = line(unit(1, *[DAMAGED] * 8), unit(2, GOOD, DAMAGED, GOOD), unit(3, *[GOOD] * 3))
    assert named(seen) == ["bus.noisy-line"]


def test_where_nobody_is_sound_it_may_be_the_speed() -> None:
    assert set(named(line(unit(1, *[DAMAGED] * 3), unit(2, *[DAMAGED] * 3)))) == {
        "bus.speed-suspect"
    }


def test_breaks_between_requests_are_no_stray_bytes_at_rest() -> None:
    seen = line(unit(1, GOOD, DAMAGED), unit(2, GOOD, DAMAGED), idle_bytes=0, idle_zeros=1)
    (noisy,) = [f for f in bus_line.check(seen, []) if f.id == "bus.noisy-line"]
    assert "stray" not in noisy.evidence
