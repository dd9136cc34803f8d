"""A gateway as far as its configuration goes: the real agent, slots, trust and time floor on virtual time.

What the rest of the daemon would see is a plain function of the configuration that runs: `plant(content)` gives
Vitals, or raises as a daemon that cannot start.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.virtual_clock import VirtualClock
from lamppost.ota.agent import Agent
from lamppost.ota.choice import choose
from lamppost.ota.generations import Generations
from lamppost.ota.health import Vitals
from lamppost.ota.sources import Source
from lamppost.timeline import Timeline

WELL = Vitals(
    devices=frozenset({"meter", "air"}),
    answering=frozenset({"meter", "air"}),
    connected=True,
    receipts=3,
    clock=True,
)
LOCAL = b"# the site file that came with the gateway\n"


@dataclass
class OtaTable:
    """The site's [ota] table."""

    group: str = "harbour"
    every: float = 900.0
    trial: float = 120.0
    window: str = ""
    hold_until: dt.datetime | None = None


async def inline(function: Callable[..., Any], /, *arguments: Any) -> Any:
    """In place of a thread, which does not fit on virtual time."""
    return function(*arguments)


class ProcessEnds(Exception):
    """The daemon was killed, or hung and was killed by the watchdog."""


@dataclass
class Gateway:
    """One gateway; `live` is its daemon's life from start to stop, restarted by whoever restarts it."""

    name: str
    folder: Path
    root: bytes | None
    sources: Sequence[Source]
    clock: VirtualClock
    plant: Callable[[bytes], Vitals] = lambda content: WELL
    check_site: Callable[[bytes], None] = lambda content: None
    settings: OtaTable = field(default_factory=OtaTable)
    starts: list[bytes] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    flushes: int = 0
    asked_check_time: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.site = self.folder / "site.toml"
        self.site.write_bytes(LOCAL)
        self.timeline = Timeline(self.folder / "boots.json", send_unsynced=False)
        self.agent: Agent | None = None

    @property
    def generations(self) -> Generations:
        """As they are on disk."""
        return Generations(self.folder / "ota")

    @property
    def runs(self) -> bytes:
        """What the newest start ran."""
        return self.starts[-1]

    def status(self) -> dict[str, Any]:
        assert self.agent is not None
        return self.agent.status()

    def serial(self) -> int:
        return int(self.status()["runs"].get("serial", 0))

    def last(self) -> tuple[str, str]:
        """Outcome and code of the newest line of history."""
        entry = self.generations.state.history[-1]
        return entry.outcome, entry.code

    async def live(self) -> None:
        """The process: one configuration after another, until cancelled or ended by its plant."""
        generations = Generations(self.folder / "ota")
        while True:
            await self._once(generations)

    async def look(self) -> bool:
        """One process that looks once and ends; True if it wanted to start again."""
        generations = Generations(self.folder / "ota")
        self._begin(generations, asyncio.Event())
        assert self.agent is not None
        return await self.agent.look()

    def _begin(self, generations: Generations, stop: asyncio.Event) -> None:
        self.timeline.learn(self.clock)
        now, utc = self.clock.now(), self.clock.utc()
        chosen = choose(generations, self.site, lambda content: content, now, utc)
        self.starts.append(chosen.content)
        self.started.append(self.clock.monotonic())
        host = _Host(self, chosen.content, stop)
        self.agent = Agent(
            self.name,
            self.settings,
            generations,
            host,
            self.clock,
            self.timeline,
            self.folder / "ota",
            chance=random.Random(self.name),
            offload=inline,
        )

    async def _once(self, generations: Generations) -> None:
        stop = asyncio.Event()
        self._begin(generations, stop)
        assert self.agent is not None
        running = asyncio.create_task(self.agent.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)


@dataclass
class _Host:
    gateway: Gateway
    content: bytes
    stop: asyncio.Event

    def vitals(self) -> Vitals:
        return self.gateway.plant(self.content)

    def check(self, content: bytes) -> None:
        self.gateway.check_site(content)

    def root(self) -> bytes | None:
        return self.gateway.root

    def sources(self, *, check_time: bool) -> Sequence[Source]:
        self.gateway.asked_check_time.append(check_time)
        self.gateway.timeline.learn(self.gateway.clock)  # as the daemon does every second
        return self.gateway.sources

    async def flush(self) -> None:
        self.gateway.flushes += 1

    def restart(self) -> None:
        self.stop.set()
