"""The scenarios as a user runs them: `lamppost-sim run`, its site file, acquisition; every gap is explained.

A bad reading or a missing sample that no event of the scenario explains (`gaps`) fails. A scenario plays in real time:
where the machine was too busy for that, the run is skipped, never passed. The serial lines in virtual time, where no
machine is too busy, are in test_scenarios_virtual.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("smbus2")
pytest.importorskip("lgpio")
pytest.importorskip("bleak")

from fakes.acquiring import Acquiring
from hwsim.preload import PreloadError, library
from hwsim.site import seconds_of
from shared_folder import CHECKOUT
from sim.gaps import UNDER_WAY, Gap, begins, excuses, unexplained

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

SCENARIOS = CHECKOUT / "hw-sim" / "scenarios"
NAMES = ("lamp-post-air", "pump-house", "smart-village")
LATE = 0.03
"""Seconds: a simulated line that late had no processor; 40 ms within an answer end it."""
MOST_LATE = 20
"""Line-seconds so late, from which on a run says nothing."""
NEAR = 4.0
"""Seconds around such a moment in which a gap may be the machine's."""


class TooBusy(Exception):
    """The simulator itself could not keep the time of its lines: the run is no proof of anything."""


@dataclass
class Played:
    """A scenario under way: its site file, the environment for a gateway, and when which of its events happened.

    `stalls`: when a simulated line was late by itself, because the machine was busy.
    """

    site: str
    env: dict[str, str]
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)

    def watch(self, control: Path, ended: threading.Event) -> None:
        """Ask the simulator each second how late its lines were."""
        with socket.socket(socket.AF_UNIX) as made:
            made.connect(str(control))
            stream = made.makefile("rw")

            def ask(**words: str) -> dict[str, Any]:
                stream.write(json.dumps(words) + "\n")
                stream.flush()
                told: dict[str, Any] = json.loads(stream.readline())
                return told

            while not ended.wait(1.0):
                for name, stats in ask(do="stats")["lines"].items():
                    if stats["late"] > LATE:
                        self.stalls.append(time.clock_gettime(time.CLOCK_BOOTTIME))
                    ask(do="reset", line=name)


@contextmanager
def simulated(name: str, folder: Path) -> Iterator[Played]:
    """`lamppost-sim run` in a process of its own."""
    plan = tomllib.loads((SCENARIOS / f"{name}.toml").read_text(encoding="utf-8"))
    steps = sorted(plan["event"], key=lambda event: seconds_of(event["at"]))
    command = [sys.executable, "-m", "hwsim.cli", "run", str(SCENARIOS / f"{name}.toml")]
    process = subprocess.Popen(
        [*command, "--at", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    try:
        while "ready" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        lines = (folder / "environment").read_text(encoding="utf-8").splitlines()
        env = dict(line.split("=", 1) for line in lines)
        played = Played((folder / "site.toml").read_text(encoding="utf-8"), env)

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                if len(played.events) < len(steps) and line.split()[1:2] == ["s"]:
                    now = time.clock_gettime(time.CLOCK_BOOTTIME)
                    played.events.append((now, steps[len(played.events)]))

        ended = threading.Event()
        listener = threading.Thread(target=listen)
        watcher = threading.Thread(target=played.watch, args=(folder / "sim.sock", ended))
        listener.start()
        watcher.start()
        try:
            yield played
        finally:
            ended.set()
            watcher.join()
    finally:
        process.terminate()
        process.wait(20)
        listener.join()
        process.stdout.close()
    assert process.returncode == 0


def play(name: str, folder: Path, seconds: float, slack: float) -> str:
    """Run a scenario for a while; fails with every gap that nothing explains. Says what was counted.

    Raises TooBusy where gaps may be the machine's, or the machine was late too often.
    """
    with simulated(name, folder) as played:
        plan = tomllib.loads(played.site)
        gateway = folder / "gateway"
        gateway.mkdir()
        with Acquiring(
            gateway, played.site[played.site.index("[[link]]") :], played.env
        ) as acquiring:
            devices = {device["name"]: device for device in plan["device"]}
            acquiring.wait(lambda: acquiring.samples, "a first sample", 60.0)
            begun = time.clock_gettime(time.CLOCK_BOOTTIME)
            time.sleep(seconds)  # a scenario plays in real time
            status = acquiring.status()
            ended = time.clock_gettime(time.CLOCK_BOOTTIME)
            assert "Traceback" not in acquiring.said()  # lost links are told there
        assert {d["name"] for bus in status for d in bus["devices"]} == set(devices)
    gaps: list[Gap] = []
    felt: set[tuple[float, float]] = set()
    counted = excused = 0
    for device in devices.values():
        samples = acquiring.of(device["name"])
        spans = excuses(device, played.events, ended)
        gaps += unexplained(device, samples, spans, (begun, ended), slack)
        bad = [s["at"] for s in samples if set(s["reasons"].values()) != {"good"}]
        felt |= {span for span in spans if any(span[0] <= at <= span[1] for at in bad)}
        counted += len(samples)
        excused += len(bad)
    ours = [gap.text for gap in gaps if not near(gap, played.stalls)]
    assert ours == []
    if gaps or len(played.stalls) > MOST_LATE:
        raise TooBusy(f"{name}: late {len(played.stalls)} times; {[gap.text for gap in gaps]}")
    happened = [(at, event) for at, event in played.events if begins(event)]
    for at, event in happened:  # a pump that stands still is no bad reading
        assert event["line"] == "gpio-0" or any(span[0] == at - UNDER_WAY for span in felt), event
    return (
        f"{name}: {len(devices)} devices, {counted} samples, {excused} not good and explained by "
        f"{len(happened)} events, 0 gaps; the simulator itself was late {len(played.stalls)} times"
    )


def near(gap: Gap, stalls: Sequence[float]) -> bool:
    """Whether the machine was busy about then."""
    return any(gap.begin - NEAR <= at <= gap.end + NEAR for at in stalls)


def play_all(folder: Path, seconds: float, slack: float) -> list[str]:
    """All three at once, to save time: what each said. Skips where one of them proved nothing, and none failed."""
    with ThreadPoolExecutor(len(NAMES)) as pool:
        runs = [pool.submit(play, name, folder / name, seconds, slack) for name in NAMES]
    wrong = [run.exception() for run in runs]
    for error in wrong:
        if error is not None and not isinstance(error, TooBusy):
            raise error
    if busy := [str(error) for error in wrong if error is not None]:
        pytest.skip(f"this machine was too busy to simulate the lines in real time: {busy}")
    return [run.result() for run in runs]


def test_three_scenarios_side_by_side(tmp_path: Path) -> None:
    assert len(play_all(tmp_path, 8.0, 30.0)) == 3


@pytest.mark.long
def test_five_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = play_all(tmp_path, 300.0, 2.0)
    with capsys.disabled():
        print("", *said, sep="\n")


def test_the_check_is_tight() -> None:
    device = {"name": "m", "link": "a", "unit": 3, "every": "1s"}
    events = [
        (100.0, {"line": "a", "unit": 3, "do": "silence"}),
        (110.0, {"line": "a", "unit": 3, "do": "revive"}),
        (120.0, {"line": "a", "unit": 4, "do": "silence"}),
        (130.0, {"line": "a", "do": "noise", "bit_error_rate": 0.01}),
        (135.0, {"line": "a", "do": "noise", "bit_error_rate": 0.0}),
    ]
    spans = excuses(device, events, 300.0)
    assert spans == [(98.5, 140.0), (128.5, 150.0)]

    def found(*, bad: Sequence[float] = (), missing: range = range(0)) -> list[str]:
        samples = [
            {"at": float(at), "reasons": {"x": "no_response" if at in bad else "good"}}
            for at in range(50, 200)
            if at not in missing
        ]
        return [gap.text for gap in unexplained(device, samples, spans, (50.0, 199.0), 1.0)]

    assert found() == []
    assert found(bad=(99, 139, 149)) == []
    assert len(found(bad=(97, 151))) == 2
    assert found(missing=range(105, 115)) == []
    assert len(found(missing=range(160, 165))) == 1
