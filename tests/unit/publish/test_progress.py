"""What gateways say of their configuration, read at the hub, and what a roll-out's state is by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamppost.model import Instant
from lamppost.ngsild.devices import device_entities
from lamppost.ngsild.site import SitePlan
from lamppost.ota.generations import Generations
from lamppost.ota.refusal import ConfigUnfit
from lamppost.ota.report import for_hub, report
from lamppost.ota.state import Baseline, State
from lamppost_hub.publish import reports
from lamppost_hub.publish.progress import progress
from lamppost_hub.publish.reports import Report
from lamppost_hub.publish.repository import Published

NOW = Instant("boot", 1)
STEPS = [[5000, 100], [10_000, 200]]


def entities(state: State, **more: object) -> list[object]:
    """What a gateway sends, through JSON, as it is."""
    plan = SitePlan(
        gateway="gw-1", place=None, source="", data_provider="", devices=(), description=""
    )
    words = for_hub(report(state, **more))  # type: ignore[arg-type]
    found: list[object] = json.loads(json.dumps(device_entities(plan, {}, 10**18, words)))
    return found


def said(state: State, **more: object) -> Report:
    found = reports._said(entities(state, **more), "gw-1")
    assert found is not None
    return reports.read("gw-1", found)


def test_a_report_tells_what_runs_and_what_became_of_the_newest(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    assert said(generations.state) == Report("gw-1", state="local")
    generations.stage(b"a", Baseline(), serial=4, rollout="harbour-4")
    generations.start(NOW, 0)
    assert (said(generations.state).state, said(generations.state).serial) == ("trial", 4)
    generations.confirm(0)
    found = said(generations.state)
    assert (found.state, found.serial, found.tried, found.outcome) == (
        "confirmed",
        4,
        4,
        "confirmed",
    )
    generations.stage(b"b", Baseline(), serial=7, rollout="harbour-7")
    generations.start(NOW, 0)
    generations.revert(ConfigUnfit("ota.no-receipt", "none came"), 0)
    found = said(generations.state)
    assert (found.serial, found.tried, found.outcome) == (4, 7, "reverted")
    assert (found.code, found.reason) == ("ota.no-receipt", "none came")
    unfit = ConfigUnfit("ota.disk-budget", "too large")
    found = said(generations.state, refused=("f" * 64, 9, unfit), fault=unfit)
    assert (found.tried, found.outcome, found.code) == (9, "refused", "ota.disk-budget")
    assert found.fault == "ota.disk-budget"


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        [],
        {},
        {"serial": -1, "last": 3},
        {"serial": "4", "state": 7, "last": {"serial": []}},
    ],
)
def test_an_odd_report_is_an_empty_one(odd: object) -> None:
    value = [{"id": "urn:ngsi-ld:Device:gw-1", reports.ATTRIBUTE: {"value": odd}}]
    found = reports._said(value, "gw-1")
    assert found is None or reports.read("gw-1", found) == Report("gw-1")


def place(report: Report | None, utc: int = 150) -> str:
    published = Published("harbour", "gw-1", 7, "harbour-7", STEPS, 1000, "f" * 64)
    known = {"gw-1": report} if report else {}
    (found,) = progress("harbour-7", [published], known, utc * 10**9, halted=False).places
    return found.stands


def test_where_a_gateway_stands() -> None:
    assert place(None, utc=50) == "waiting"
    assert place(None, utc=10_000) == "due"
    assert place(Report("gw-1", "confirmed", 7, tried=7, outcome="confirmed")) == "confirmed"
    assert place(Report("gw-1", "trial", 7)) == "trial"
    assert place(Report("gw-1", "confirmed", 4, tried=7, outcome="reverted")) == "failed"
    assert place(Report("gw-1", "confirmed", 4, tried=7, outcome="refused")) == "failed"
    assert place(Report("gw-1", "confirmed", 4, tried=7, outcome="withdrawn")) == "back"
    assert place(Report("gw-1", "confirmed", 4, tried=4, outcome="confirmed"), utc=10_000) == "due"


def test_when_too_many_failed() -> None:
    published = [
        Published("h", f"gw-{n}", 7, "h-7", [[10_000, 0]], 1000, "f" * 64) for n in range(100)
    ]

    def failed(count: int, percent: float) -> bool:
        known = {
            f"gw-{n}": Report(f"gw-{n}", "confirmed", 4, tried=7, outcome="reverted")
            for n in range(count)
        }
        return progress("h-7", published, known, 10**9, halted=False).too_many_failed(percent)

    assert [failed(n, 2) for n in (0, 1, 2, 3)] == [False, False, False, True]
    assert [failed(n, 0) for n in (0, 1, 2)] == [False, False, True], "one alone may be broken"
