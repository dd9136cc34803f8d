"""The scenarios as a user runs them: `lamppost-sim run`, its site file, acquisition; every gap is explained.

A device is excused only from shortly before an event of the scenario hits it until the event's end and the time that
the way back may take (docs/reference/simulated-hardware.md). A bad reading outside, or a sample that is missing, fails.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
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

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

SCENARIOS = CHECKOUT / "hw-sim" / "scenarios"
NAMES = ("lamp-post-air", "pump-house", "smart-village")
UNDER_WAY = 1.5
"""Seconds an exchange may have been under way when an event begins."""
BACK_ALONE, BACK_AMONG_OTHERS = 15.0, 30.0
"""Seconds until a device is back: alone on its link or together with it, or as one silent among others that answer."""
BEGIN_WITHIN = 15.0
BEGINS: Mapping[str, str] = dict.fromkeys(("pm", "co2", "flow", "tag", "garden"), "not_available")
"""What a device may say at first: a fan that starts, a first conversion, a rate that needs two pulses."""
ENDS = {"silence": "revive", "unplug": "plug", "off": "on", "stick": "release", "babble": "hush"}
CALM: Mapping[str, object] = {"bit_error_rate": 0.0, "late_every": 0}


LATE, MISSED = 0.03, 8.0
"""Seconds: a simulated line that late had no processor (40 ms within an answer end it); that is over after 8 s."""


@dataclass
class Played:
    """A scenario under way: its site file, the environment for a gateway, and when which of its events happened.

    `stalls`: when which simulated line was late by itself, because the machine was busy.
    """

    site: str
    env: dict[str, str]
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    stalls: list[tuple[float, str]] = field(default_factory=list)

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
                        self.stalls.append((time.clock_gettime(time.CLOCK_BOOTTIME), name))
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
    """Run a scenario for a while; fails with every gap that nothing explains. Says what was counted."""
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
    gaps: list[str] = []
    felt: set[tuple[float, float]] = set()
    counted = excused = 0
    for device in devices.values():
        samples = acquiring.of(device["name"])
        spans = excuses(device, played.events, ended)
        stalls = [at for at, line in played.stalls if line == device["link"]]
        spans += [(at - 1.0 - UNDER_WAY, at + MISSED) for at in stalls]
        gaps += unexplained(device, samples, spans, (begun, ended), slack)
        bad = [s["at"] for s in samples if set(s["reasons"].values()) != {"good"}]
        felt |= {span for span in spans if any(span[0] <= at <= span[1] for at in bad)}
        counted += len(samples)
        excused += len(bad)
    assert gaps == []
    happened = [(at, event) for at, event in played.events if begins(event)]
    for at, event in happened:  # a pump that stands still is no bad reading
        assert event["line"] == "gpio-0" or any(span[0] == at - UNDER_WAY for span in felt), event
    return (
        f"{name}: {len(devices)} devices, {counted} samples, {excused} not good and explained by "
        f"{len(happened)} events, 0 gaps; the simulator itself was late {len(played.stalls)} times"
    )


def excuses(
    device: Mapping[str, Any], events: Sequence[tuple[float, Mapping[str, Any]]], ended: float
) -> list[tuple[float, float]]:
    """When this device may miss: the spans of the events that hit it, each with its way back."""
    spans = []
    for number, (begin, event) in enumerate(events):
        if not (hits(event, device) and begins(event)):
            continue
        ends = (at for at, later in events[number + 1 :] if ends_it(event, later))
        back = BACK_ALONE if event.get("unit") is None else BACK_AMONG_OTHERS
        spans.append((begin - UNDER_WAY, next(ends, ended) + back))
    return spans


def hits(event: Mapping[str, Any], device: Mapping[str, Any]) -> bool:
    """Whether an event reaches a device: its whole link, or itself by unit id, address or pin."""
    unit = event.get("unit")
    mine = [device[key] for key in ("unit", "address", "mac", "pin") if key in device]
    return bool(event["line"] == device["link"] and (unit is None or unit in mine))


def begins(event: Mapping[str, Any]) -> bool:
    return event["do"] in ENDS or any(event.get(key, calm) != calm for key, calm in CALM.items())


def ends_it(event: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    same = (event["line"], event.get("unit")) == (later["line"], later.get("unit"))
    return same and (
        later["do"] == ENDS.get(event["do"]) or (later["do"] == event["do"] and not begins(later))
    )


def unexplained(
    device: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    spans: Sequence[tuple[float, float]],
    run: tuple[float, float],
    slack: float,
) -> Iterator[str]:
    """Readings that are not good and samples that are missing, where no event and no start explains it."""
    name, every = device["name"], seconds_of(device["every"])
    begun, ended = run
    for sample in samples:
        at = sample["at"]
        reasons = set(sample["reasons"].values()) - {"good"}
        if at < begun + BEGIN_WITHIN:
            reasons -= {BEGINS.get(name, "good")}
        if reasons and not any(low <= at <= high for low, high in spans):
            yield f"{name}: {', '.join(sorted(reasons))} {at - begun:.1f} s after the start"
    moments = [begun, *(sample["at"] for sample in samples), ended]
    for before, after in pairwise(moments):
        covered = sum(max(0.0, min(after, high) - max(before, low)) for low, high in spans)
        if after - before - covered > 2 * every + slack:
            yield f"{name}: nothing for {after - before:.1f} s, {before - begun:.1f} s after the start"


def test_three_scenarios_side_by_side(tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(NAMES)) as pool:
        said = list(pool.map(lambda name: play(name, tmp_path / name, 8.0, 30.0), NAMES))
    assert len(said) == 3


@pytest.mark.long
def test_five_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All three at once, to save time; what each said is shown even where another fails."""
    with ThreadPoolExecutor(len(NAMES)) as pool:
        runs = {name: pool.submit(play, name, tmp_path / name, 300.0, 2.0) for name in NAMES}
    with capsys.disabled():
        for name, run in runs.items():
            print(
                f"\n{name}: {run.exception()}" if run.exception() else f"\n{run.result()}", end=""
            )
    assert not any(run.exception() for run in runs.values())


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
        return list(unexplained(device, samples, spans, (50.0, 199.0), 1.0))

    assert found() == []
    assert found(bad=(99, 139, 149)) == []
    assert len(found(bad=(97, 151))) == 2
    assert found(missing=range(105, 115)) == []
    assert len(found(missing=range(160, 165))) == 1
