"""Kills and network faults over the whole chain under load: every reading once at both sinks, or in a signed gap.

The long run prints a table of faults and outcomes. LAMPPOST_SEED repeats a run's choices, LAMPPOST_FAULTS their number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.postgres import Postgres
from sim.chain import need_broker
from sim.town import Town, rage

pytestmark = [
    pytest.mark.broker,
    # paho leaves sockets open whose handshake failed, and says so when they are collected
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def town(tmp_path: Path, postgres: Postgres) -> Iterator[Town]:
    need_broker()
    town = Town(tmp_path, postgres)
    try:
        town.start()
        yield town
    finally:
        town.close()


def survive(town: Town, count: int, seed: int) -> None:
    print(f"seed {seed}")
    rage(town, count, random.Random(seed), print)
    found = town.finish()
    show(town, found)
    ring = found["ring"]
    assert ring["appended"] > 0
    assert ring["waiting"] == 0
    assert ring["batches_settled"] + found["load_batches"] == found["of_readings"]
    assert found["readings"] + found["in_gaps"] == ring["appended"] + found["load_readings"]
    assert found["load_problems"] == []
    assert found["broker_readings"] == found["readings"]
    assert (found["broker_repeated"], found["repeated_rows"]) == (0, 0)
    assert found["deliveries"] == found["batches"]
    assert (found["dead_letters"], found["streams"]) == (0, [("open",)])
    assert found["audit"].startswith("OK ")


def show(town: Town, found: dict[str, Any]) -> None:
    print("| fault | times | booked again after (median s) | longest |")
    print("|---|---|---|---|")
    for what, times, median, longest in town.outcomes():
        print(f"| {what} | {times} | {median:.1f} | {longest:.1f} |")
    print(found)


def test_a_few_kills_and_faults(town: Town) -> None:
    survive(town, 4, 11)


@pytest.mark.long
def test_a_thousand_kills_and_faults(town: Town) -> None:
    seed = int(os.environ.get("LAMPPOST_SEED") or random.randrange(2**32))
    survive(town, int(os.environ.get("LAMPPOST_FAULTS", "1000")), seed)
