"""Stored readings: counters that ran back, gauges that stand still; and how fast a disk fills."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lamppost.diagnosis.checks.storage import days_to_full
from lamppost.diagnosis.facts import Mount
from lamppost.diagnosis.gather.machine import remembered
from lamppost.diagnosis.history import told

S = 10**9
KINDS = {("m", "energy"): "counter", ("m", "power"): "gauge", ("m", "state"): "gauge"}


@dataclass
class Row:
    point: str
    value: float | int | str | None
    boottime_ns: int
    device: str = "m"
    quality: str = "good"
    boot: str = "b1"


def test_a_counter_that_ran_back() -> None:
    rows = [Row("energy", v, t * S) for t, v in enumerate((5.0, 6.5, 2.0, 2.5))]
    back, still = told(rows, KINDS)
    assert back == [{"device": "m", "point": "energy", "before": "6.5", "after": "2"}]
    assert still == []


def test_a_gauge_may_fall_and_bad_values_say_nothing() -> None:
    rows = [Row("power", v, t * S) for t, v in enumerate((5.5, 2.5))]
    rows += [
        Row("energy", 9.0, 5 * S),
        Row("energy", 1.0, 6 * S, quality="bad"),
        Row("energy", 9.5, 7 * S),
    ]
    assert told(rows, KINDS) == ([], [])


def test_a_value_that_stands_still_for_long() -> None:
    frozen = [Row("power", 21.437, t * 15 * S) for t in range(200)]
    _, still = told(frozen, KINDS)
    assert still == [{"device": "m", "point": "power", "readings": 200, "seconds": 199 * 15}]
    moved = [*frozen, Row("power", 21.5, 10**6 * S)]
    assert told(moved, KINDS)[1] == []
    assert told(frozen[:50], KINDS)[1] == []  # not for long enough
    whole = [Row("state", 4.0, t * 15 * S) for t in range(200)]
    assert told(whole, KINDS)[1] == []  # a state, or nothing flows
    other = [Row("power", 21.437, t * 15 * S, boot=f"b{t // 100}") for t in range(200)]
    assert told(other, KINDS)[1] == []  # boots cannot be compared


def test_the_pace_of_a_disk_needs_two_looks(tmp_path: Path) -> None:
    memory = tmp_path / "cache/disk.json"
    (first,) = remembered([Mount(path="/", free=5000, total=9000)], memory, 0)
    assert days_to_full(first) is None
    (second,) = remembered([Mount(path="/", free=4000, total=9000)], memory, 86400)
    assert days_to_full(second) == 4.0
    (later,) = remembered([Mount(path="/", free=4000, total=9000)], memory, 9 * 86400)
    assert json.loads(memory.read_text()) == {"/": [9 * 86400, 4000]}
    assert later.earlier_free == 5000
    memory.write_text("nonsense")
    (again,) = remembered([Mount(path="/", free=3000, total=9000)], memory, 10 * 86400)
    assert again.earlier_free == 3000
