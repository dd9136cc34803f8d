"""5 → 25 → 100 % over 200 gateways, with a fault that shows in the second step: halted, few touched, all back.

Real agents, slots, trust and repository on virtual time; what gateways report takes the way through their Device
entity. The hub looks every ten minutes, as `lamppost-hub publish watch` does.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.configured import WELL, Gateway, OtaTable
from fakes.publishing import World
from fakes.virtual_clock import VirtualClock, run
from lamppost.ota.health import Vitals
from lamppost.ota.report import for_hub
from lamppost.ota.rollout import place_of
from lamppost.ota.sources import FolderSource
from lamppost_hub.publish import reports
from lamppost_hub.publish.progress import Progress, progress

GOOD, BAD = b"interval = 10\n", b"interval = 20\n"
HOUR = 3600
LOOK = 600.0


class Fleet:
    """A hub and its gateways."""

    def __init__(self, folder: Path, clock: VirtualClock, count: int) -> None:
        self.clock = clock
        self.world = World(folder / "hub")
        self.source = FolderSource(self.world.served)
        self.gateways = {
            name: Gateway(
                name,
                folder / name,
                self.world.root,
                [_AtTheHub(self.world.served)],
                clock,
                settings=OtaTable(every=86400.0),
            )
            for name in (f"gw-{number:03}" for number in range(count))
        }

    async def passed(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.monotonic() + seconds)
        self.world.utc = self.clock.utc()

    def publish(self, content: bytes, **terms: int) -> str:
        now = self.world.utc // 10**9
        steps = [[500, now], [2500, now + 6 * HOUR], [10_000, now + 12 * HOUR]]
        rollout = self.world.publish(
            "harbour", dict.fromkeys(self.gateways, content), steps, **terms
        )
        self.nudged()
        return rollout

    def halt(self, rollout: str) -> None:
        self.world.repository.halt(rollout, self.world.utc)
        self.nudged()

    def nudged(self) -> None:
        """The receiver tells all of them, as after every release and halt."""
        for gateway in self.gateways.values():
            if gateway.agent is not None:
                gateway.agent.nudge()

    def progress(self, rollout: str) -> Progress:
        said = {
            name: reports.read(name, for_hub(gateway.status()))
            for name, gateway in self.gateways.items()
        }
        halted = rollout in self.world.repository.halted()
        published = self.world.repository.published()
        return progress(rollout, published, said, self.world.utc, halted=halted)

    def run(self, content: bytes) -> list[str]:
        return [n for n, gateway in self.gateways.items() if gateway.runs == content]


class _AtTheHub(FolderSource):
    local = False


def spread_fault(fleet: Fleet, rollout: str) -> set[str]:
    """A fault that nobody of the first step has: three of four gateways behind it lose a meter with BAD."""
    faulty = {n for n in fleet.gateways if place_of(rollout, n) >= 500 and int(n[3:]) % 4}

    def plant(name: str, content: bytes) -> Vitals:
        return (
            replace(WELL, answering=frozenset({"air"}))
            if name in faulty and content == BAD
            else WELL
        )

    for name, gateway in fleet.gateways.items():
        gateway.plant = lambda content, name=name: plant(name, content)  # type: ignore[misc]
    return faulty


async def rolled_out(fleet: Fleet) -> None:
    lives = [asyncio.create_task(gateway.live()) for gateway in fleet.gateways.values()]
    try:
        first = fleet.publish(GOOD)
        await fleet.passed(14 * HOUR)
        assert fleet.progress(first).count("confirmed") == len(lives)
        rollout = fleet.publish(BAD)
        faulty = spread_fault(fleet, rollout)
        early = {n for n in fleet.gateways if place_of(rollout, n) < 500}
        second = {n for n in fleet.gateways if place_of(rollout, n) < 2500}
        await fleet.passed(5 * HOUR)
        assert set(fleet.run(BAD)) == early, "the first step is well"
        assert early
        while not fleet.progress(rollout).halted:
            await fleet.passed(LOOK)
            if fleet.progress(rollout).too_many_failed(2):
                fleet.halt(rollout)
        await fleet.passed(20 * HOUR)
        now = fleet.progress(rollout)
        touched = {n for n, g in fleet.gateways.items() if BAD in g.starts}
        assert touched <= second
        assert now.touched == len(touched)
        assert fleet.run(GOOD) == list(fleet.gateways), "all are back"
        failed = {p.gateway: p.code for p in now.places if p.stands == "failed"}
        assert failed.keys() <= faulty & touched
        assert len(failed) > max(1, len(lives) * 0.02)
        assert set(failed.values()) == {"ota.devices-silent"}
        withdrawn = {p.gateway for p in now.places if p.stands == "back"}
        assert withdrawn == touched - failed.keys(), "also those in the middle of their trial"
        mended = fleet.publish(b"interval = 30\n")
        await fleet.passed(15 * HOUR)
        assert fleet.progress(mended).count("confirmed") == len(lives)
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_a_fault_in_the_second_step_halts_the_roll_out(tmp_path: Path, count: int) -> None:
    async def main(clock: VirtualClock) -> None:
        fleet = Fleet(tmp_path, clock, count)
        await rolled_out(fleet)
        touched = sum(BAD in gateway.starts for gateway in fleet.gateways.values())
        assert 0 < touched <= count * 0.25

    run(main)
