"""The serial lines of the scenarios for five minutes of virtual time: no gap that the scenario's events do not explain.

The units, wires and events are those of `lamppost-sim run`, the links and pollers those of the gateway; the terminal
between them is not there. So every run is the same, however busy the machine is, and nothing is excused for its sake.
I2C, GPIO, Bluetooth and TCP, which need the kernel, are in test_scenarios.py.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes.virtual_clock import START_MONOTONIC, VirtualClock, run
from fakes.virtual_ports import CabinetLine, Ports
from hwsim.cabinet import Cabinet
from hwsim.site import Script, seconds_of
from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.config import load
from lamppost.model import Sample
from shared_folder import CHECKOUT
from sim.gaps import begins, excuses, hits, unexplained

SCENARIOS = CHECKOUT / "hw-sim" / "scenarios"
REGISTRY = Registry.load()
SECONDS, SLACK = 300.0, 1.0
FOLDER = Path("/virtual")


class Played:
    """The serial lines of a scenario, played, with `more` events than it tells."""

    def __init__(
        self, name: str, patch: pytest.MonkeyPatch, more: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        plan = tomllib.loads((SCENARIOS / f"{name}.toml").read_text(encoding="utf-8"))
        names = {line["name"] for line in plan["line"]}
        told = [event for event in plan["event"] if event["line"] in names]
        self.plan = {"line": plan["line"], "event": [*told, *more]}
        self.events = sorted(
            ((seconds_of(event["at"]), event) for event in told), key=lambda event: event[0]
        )
        site = (SCENARIOS / f"{name}.site.toml").read_text(encoding="utf-8")
        site = re.sub(r'"{port:\w+}"', "502", site.replace("{folder}", str(FOLDER)))
        self.devices = [d for d in tomllib.loads(site)["device"] if d["link"] in names]
        whole = load.site(site.encode(), REGISTRY.find)
        self.site = whole.model_copy(
            update={
                "link": tuple(link for link in whole.link if link.name in names),
                "device": tuple(device for device in whole.device if device.link in names),
            }
        )
        self.samples: dict[str, list[dict[str, Any]]] = {d["name"]: [] for d in self.devices}
        self.lines: dict[str, CabinetLine] = {}
        self._patch = patch
        run(self._play)

    async def _play(self, clock: VirtualClock) -> None:
        self._patch.setattr("time.monotonic", clock.monotonic)
        ports = Ports(clock)
        ports.install(self._patch)
        cabinet = Cabinet(self.plan, FOLDER, line=CabinetLine)
        for name, line in cabinet.lines.items():
            assert isinstance(line, CabinetLine)
            self.lines[name] = line
            ports.put(line)
        acquisition = acquire.build(self.site, REGISTRY, clock, self._deliver)
        playing = asyncio.create_task(Script(cabinet).run(lambda said: None))
        polling = asyncio.create_task(acquisition.run())
        await clock.sleep_until(START_MONOTONIC + SECONDS)
        assert not polling.done()
        for task in (playing, polling):
            task.cancel()
        await asyncio.gather(playing, polling, return_exceptions=True)

    def _deliver(self, sample: Sample) -> None:
        reasons = {reading.point: reading.quality.reason for reading in sample.readings}
        at = sample.at.ns / 1e9 - START_MONOTONIC
        self.samples[sample.device].append({"at": at, "reasons": reasons})

    def gaps(self) -> list[str]:
        return [
            gap.text
            for device in self.devices
            for gap in unexplained(
                device,
                self.samples[device["name"]],
                excuses(device, self.events, SECONDS),
                (0.0, SECONDS),
                SLACK,
            )
        ]

    def felt(self) -> list[Mapping[str, Any]]:
        """The events in whose span something was not good."""
        bad = [
            (device, sample["at"])
            for device in self.devices
            for sample in self.samples[device["name"]]
            if set(sample["reasons"].values()) != {"good"}
        ]
        return [
            event
            for at, event in self.events
            if begins(event)
            and any(hits(event, device) and at <= moment <= at + 30 for device, moment in bad)
        ]


@pytest.mark.parametrize("name", ["lamp-post-air", "pump-house", "smart-village"])
def test_five_minutes_without_a_gap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(name, monkeypatch)
    assert played.gaps() == []
    assert played.felt() == [event for _, event in played.events if begins(event)]
    buses = [line for name, line in played.lines.items() if name.startswith("rs485")]
    assert sum(line.wire.stats.violations for line in buses) == 0


def test_what_no_event_tells_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = {"do": "noise", "line": "rs485-1"}
    more = [
        {"at": "130s", **noise, "bit_error_rate": 0.05},
        {"at": "136s", **noise, "bit_error_rate": 0.0},
    ]
    gaps = Played("pump-house", monkeypatch, more).gaps()
    assert gaps
    assert all("inverter" in gap for gap in gaps)
