"""The scenarios as a user runs them: `lamppost-sim run`, its site file, acquisition; every gap is explained."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("smbus2")
pytest.importorskip("lgpio")

from fakes.acquiring import Acquiring
from hwsim.cli import BOARD
from hwsim.preload import PreloadError, environment, library
from hwsim.site import seconds_of
from shared_folder import CHECKOUT

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

SCENARIOS = CHECKOUT / "hw-sim" / "scenarios"
NAMES = ("lamp-post-air", "pump-house", "smart-village")
# What a device may say in its first samples: a fan that starts, a first conversion, a rate that needs two pulses.
BEGINS: Mapping[str, str] = dict.fromkeys(("pm", "co2", "flow"), "not_available")
FIRST = 5
# Which devices an event of a scenario's file reaches, by line and unit.
REACHED: Mapping[tuple[str, int | None], tuple[str, ...]] = {
    ("uart-pm", None): ("pm",),
    ("uart-sds", None): ("dust",),
    ("rs485-1", 126): ("inverter",),
    ("rs485-1", None): ("inverter",),
    ("rs485-east", 7): ("home-east-07",),
    ("rs485-west", 3): ("home-west-03",),
    ("plant", None): ("pv", "storage", "heat-pump"),
}
STARTUP = 4.0  # seconds until a process has opened its links


@contextmanager
def simulated(name: str, folder: Path) -> Iterator[str]:
    """`lamppost-sim run` in a process of its own; gives the site file that it wrote."""
    command = [sys.executable, "-m", "hwsim.cli", "run", str(SCENARIOS / f"{name}.toml")]
    process = subprocess.Popen(
        [*command, "--at", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        said = ""
        while "ready" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield (folder / "site.toml").read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def played(name: str, folder: Path, seconds: float) -> None:
    """Run a scenario for a while; fails with every gap that nothing explains."""
    (folder / "dev").mkdir(parents=True)
    env = environment(folder / "dev") | BOARD
    with simulated(name, folder) as site:
        gateway = folder / "gateway"
        gateway.mkdir()
        with Acquiring(gateway, site[site.index("[[link]]") :], env) as acquiring:
            time.sleep(seconds)  # a scenario plays in real time
            status = acquiring.status()
            assert "Traceback" not in acquiring.said()  # lost links are told there
        plan = tomllib.loads(site)
        names = [device["name"] for device in plan["device"]]
        assert {d["name"] for bus in status for d in bus["devices"]} == set(names)
        samples = {device: acquiring.of(device) for device in names}
    hit = reached(name, seconds)
    gaps = [gap for device in plan["device"] for gap in unexplained(device, samples, hit, seconds)]
    assert gaps == []


def reached(name: str, seconds: float) -> set[str]:
    """The devices that an event reached in time."""
    events = tomllib.loads((SCENARIOS / f"{name}.toml").read_text(encoding="utf-8"))["event"]
    begun = [event for event in events if seconds_of(event["at"]) < seconds + STARTUP]
    return {d for event in begun for d in REACHED[event["line"], event.get("unit")]}


def unexplained(
    device: Mapping[str, Any],
    samples: Mapping[str, list[dict[str, Any]]],
    hit: set[str],
    seconds: float,
) -> list[str]:
    """Samples that are missing, and readings that are not good, where no event and no start explains it."""
    name, every = device["name"], seconds_of(device["every"])
    found = samples[name]
    due = int((seconds - STARTUP) / every) - 1
    gaps = [f"{name}: {len(found)} samples of {due}"] if len(found) < max(due, 1) else []
    if name in hit:
        return gaps if found else gaps[:1]
    bad = {
        reason
        for number, sample in enumerate(found)
        for reason in sample["reasons"].values()
        if reason != "good" and not (number < FIRST and reason == BEGINS.get(name))
    }
    return gaps + [f"{name}: {reason}" for reason in sorted(bad)]


def test_three_scenarios_side_by_side(tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(NAMES)) as pool:
        list(pool.map(lambda name: played(name, tmp_path / name, 18.0), NAMES))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_five_minutes(name: str, tmp_path: Path) -> None:
    played(name, tmp_path / name, 300.0)
