"""The diagnosis table: faults are injected, the tool is run as a technician would, the right name must stand first."""

from __future__ import annotations

import shutil
import statistics
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwsim.preload import PreloadError, library
from sim.diagnosis.stage import Case, Seen, cases, line_of, run

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

SITES, CASES = cases()
KINDS = ("rtu", "tcp", "mbus", "mbus-tcp", "stream", "uart", "i2c", "ble", "gpio")
NEEDS = {"ble": "bleak", "gpio": "lgpio"}
"""Libraries without which cases of a bus cannot be played."""
AT_ONCE = 4
RIGHT = 0.95


def played(chosen: Sequence[Case], tools: Sequence[str], folder: Path) -> list[Seen]:
    """All chosen cases by all tools, a few at a time; the table is printed."""
    missing = {bus for bus, library in NEEDS.items() if find_spec(library) is None}
    if shutil.which("dbus-daemon") is None:
        missing.add("ble")
    jobs = [
        (case, tool, folder / f"{number}-{tool}")
        for number, case in enumerate(chosen)
        for tool in tools
        if case.bus not in missing and (tool == "doctor" or not case.doctor_only)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(lambda job: run(job[0], SITES, job[2], job[1]), jobs))
    for each in seen:
        print(line_of(each))
    return seen


def assert_honest(seen: Sequence[Seen]) -> None:
    """No finding claims proof of what was not injected."""
    assert [line_of(each) for each in seen if each.wrong_certainties()] == []


def test_the_table_is_whole() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    assert set(KINDS) == {case.bus for case in CASES}
    assert {"two faults at once", "intermittent", "another device at the right id"} <= {
        case.row for case in CASES
    }


def test_a_few_of_the_table(tmp_path: Path) -> None:
    chosen = [case for case in CASES if case.fast]
    seen = played(chosen, ["doctor"], tmp_path)
    assert_honest(seen)
    assert [line_of(each) for each in seen if not each.right()] == []


def test_every_row_on_every_kind_of_bus_has_a_case_or_a_reason() -> None:
    table = tomllib.loads((Path(__file__).parent / "diagnosis/matrix.toml").read_text("utf-8"))
    played_ = {(case.row, case.bus) for case in CASES}
    for row, reasons in table["row"].items():
        cells = {bus: (row, bus) in played_ for bus in KINDS}
        assert {bus for bus, has in cells.items() if not has} == set(reasons), row
    for row, where in table["machine"].items():
        file, _, name = where.partition("::")
        assert name in (Path(__file__).parents[2] / file).read_text("utf-8"), row


@pytest.mark.long
def test_the_whole_table_with_doctor_and_probe(tmp_path: Path) -> None:
    seen = played(CASES, ["doctor", "probe"], tmp_path)
    right = sum(each.right() for each in seen)
    seconds = [each.seconds for each in seen]
    by_bus = Counter(each.case.bus for each in seen)
    good = Counter(each.case.bus for each in seen if each.right())
    print(*(f"{bus}: {good[bus]} of {count}" for bus, count in by_bus.items()), sep=", ")
    print(f"exit codes: {dict(Counter(each.exit for each in seen))}")
    print(
        f"{right} of {len(seen)} right, {sum(bool(e.wrong_certainties()) for e in seen)} wrong certainties"
    )
    print(f"to the verdict: median {statistics.median(seconds):.1f} s, most {max(seconds):.1f} s")
    assert_honest(seen)
    wrong = [line_of(each) for each in seen if not each.right()]
    assert right >= RIGHT * len(seen), wrong
