"""The status screen: fits a terminal, names the worst thing last, and what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lamppost.cli.main import main
from lamppost.status.control import Control

WELL: dict[str, Any] = {
    "schema": "lamppost.status/1",
    "gateway": "gw-1",
    "hub": "hub.city",
    "version": "0.1.0",
    "up_seconds": 7300.0,
    "clock": "synced",
    "ring": {"state": "ok", "appended": 1234, "waiting": 20},
    "uplink": {
        "state": "connected",
        "code": None,
        "hint": "",
        "batches_sent": 5,
        "receipts_verified": 5,
    },
    "devices": [
        {"name": "meter", "on": "rs485-1/1", "state": "ok", "since_seconds_ago": 9.0,
         "reason": "good", "fault": {"code": "", "hint": ""}},
    ],
}  # fmt: skip
DEAD = {
    "name": "meter-2",
    "on": "rs485-1/2",
    "state": "dead",
    "since_seconds_ago": 600.0,
    "reason": "no_response",
    "fault": {"code": "link.no-answer", "hint": "check power and wiring"},
}
DOWN = {**WELL["uplink"], "state": "waiting", "code": "uplink.unreachable", "hint": "the modem"}


@contextmanager
def daemon(path: Path, status: Mapping[str, Any]) -> Iterator[None]:
    """A control socket on a loop of its own that answers `status`."""
    loop = asyncio.new_event_loop()
    serving = loop.create_task(Control(path, {"status": lambda _: status}).run())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(_until(path), loop).result(5)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        asyncio.run_coroutine_threadsafe(_gone(path), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _until(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.01)


async def _gone(path: Path) -> None:
    while path.exists():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [
        ({}, 0, "OK 1 devices answer, the hub has proved all but 20 readings"),
        (
            {"devices": [*WELL["devices"], DEAD]},
            1,
            "PROBLEM link.no-answer meter-2; type: lamppost doctor bus",
        ),
        ({"uplink": DOWN}, 1, "PROBLEM uplink.unreachable; type: lamppost doctor net uplink trust"),
        (
            {"uplink": DOWN, "ring": {**WELL["ring"], "state": "disk-full"}},
            1,
            "PROBLEM ring.disk-full; type: lamppost doctor storage buffer",
        ),
    ],
)
def test_the_worst_thing_stands_last(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    code: int,
    verdict: str,
) -> None:
    socket = tmp_path / "s"
    with daemon(socket, {**WELL, **changes}):
        try:
            main(["status", "--socket", str(socket)])
            left = 0
        except SystemExit as ended:
            left = int(ended.code or 0)
    lines = capsys.readouterr().out.splitlines()
    assert (left, lines[-1]) == (code, verdict)
    assert all(len(line) <= 80 for line in lines)
    if "devices" in changes:
        shown = " ".join(lines[-3].split())
        assert shown == "meter-2 rs485-1/2 dead 10 min: no_response"
        assert lines[-2] == "answer  1 of 2: meter"


def test_raised_alerts_and_the_months_bytes_are_shown_and_are_no_problem_of_the_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = {
        "rule": "flood",
        "device": "well",
        "point": "level",
        "severity": "critical",
        "text": "",
        "value": 2.5,
        "since_seconds_ago": 600.0,
        "flapping": True,
    }
    before = {**alert, "rule": "gone", "point": "", "value": None, "since_seconds_ago": None}
    budget = {"month_bytes": 150_000_000, "month_budget": 200_000_000, "thrift": "longer-windows"}
    status = {
        **WELL,
        "alerts": [alert, {**before, "flapping": False}],
        "uplink": {**WELL["uplink"], **budget},
    }
    with daemon(tmp_path / "s", status):
        main(["status", "--socket", str(tmp_path / "s")])
    lines = capsys.readouterr().out.splitlines()
    assert "budget  150.0 of 200 MB this month: longer-windows" in lines
    assert "alert   critical: flood (well level, 2.5) for 10 min, flapping" in lines
    assert "alert   critical: gone (well) since before the restart" in lines
    assert lines[-1].startswith("OK 1 devices answer")
    assert lines[-1].endswith(", 2 alerts raised")
