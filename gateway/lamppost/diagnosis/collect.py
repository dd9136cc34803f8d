"""Gathers the facts of the areas asked for: what blocks runs in threads, links are examined side by side."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lamppost.acquire import device_points
from lamppost.acquire.registry import Registry
from lamppost.clock import Clock
from lamppost.config.schema import Site
from lamppost.diagnosis import history
from lamppost.diagnosis.access import Access, Direct
from lamppost.diagnosis.examine import LONGEST, Examiner
from lamppost.diagnosis.facts import Config, Facts, Line, Mount
from lamppost.diagnosis.gather import machine, network, program
from lamppost.findings import AREAS

Tell = Callable[[str], None]
BufferOf = Callable[[Path], dict[str, Any] | None]
RowsOf = Callable[[Path], list[Any]]
_TROUBLED = ("suspect", "dead")
_WARM = 5
"""Requests in which a device has had time to show what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to look. `probe`: whether devices may be asked; `root`: another system's files, such as a card's."""

    socket: Path
    state: Path
    site: Path
    root: Path = machine.ROOT
    probe: bool = True
    seconds: float = LONGEST
    dial: float = network.DIAL
    tries: int = 1
    """How often the hub's port is tried."""
    memory: Path | None = None
    """A small file of this user's: how much room there was when he looked before."""


async def collect(
    sources: Sources,
    clock: Clock,
    areas: Sequence[str] = AREAS,
    tell: Tell = lambda _: None,
    buffer_of: BufferOf = lambda _: None,
    leased: Callable[[], Access] | None = None,
    rows_of: RowsOf = lambda _: [],
) -> Facts:
    """Look at all `areas`. `leased` makes an Access through the daemon where that one answers.

    `buffer_of` and `rows_of` read the ring's files: its report, and its newest readings.
    """
    wanted = set(areas)
    tell("asking the gateway program")
    daemon, status = await asyncio.to_thread(program.daemon, sources.socket)
    config, site, registry = await asyncio.to_thread(program.config, sources.site, sources.state)
    facts = Facts(
        via="daemon" if status else "direct",
        at=clock.utc() // 10**9,
        areas=list(areas),
        daemon=daemon if "host" in wanted else None,
        status=status,
        config=config if wanted & {"config", "bus", "net", "uplink", "clock"} else None,
        generations=generations(status or {}),
        clock=program.clock(sources.state, clock, (status or {}).get("clock", "")),
    )
    host, port = config.host, config.port
    local, net, trust, lines = await asyncio.gather(
        asyncio.to_thread(_machine, sources, wanted, clock.utc() // 10**9),
        asyncio.to_thread(_net, host, port, wanted, sources, tell),
        asyncio.to_thread(_trust, sources, config, wanted),
        _lines(sources, clock, wanted, site, registry, status, tell, leased),
    )
    if "buffer" in wanted and status is None:
        facts = msgspec.structs.replace(
            facts, buffer=await asyncio.to_thread(buffer_of, sources.state)
        )
    if "sensors" in wanted and site is not None and registry is not None:
        rows = await asyncio.to_thread(rows_of, sources.state)
        back, still = history.told(rows, _kinds(site, registry))
        facts = msgspec.structs.replace(facts, counters=back, still=still)
    return msgspec.structs.replace(facts, **local, **net, **trust, lines=lines)


def _kinds(site: Site, registry: Registry) -> dict[tuple[str, str], str]:
    points = device_points(site, registry)
    return {(name, p.name): p.kind.value for name, each in points.items() for p in each}


def _machine(sources: Sources, wanted: set[str], now: int) -> dict[str, Any]:
    root = sources.root
    found: dict[str, Any] = {}
    if "host" in wanted:
        found["host"] = machine.host(root)
    if "power" in wanted:
        found["power"] = machine.power(root)
    if "storage" in wanted:
        found["mounts"] = machine.remembered(_mounts(sources), sources.memory, now)
        found["card_errors"] = machine.card_errors(_kernel_log(root), sources.state, root)
    if "bus" in wanted:
        found["ports"] = machine.ports(root)
    return found


def _mounts(sources: Sources) -> list[Mount]:
    """The disk of the state, and the system's where that is another."""
    first = machine.mount(sources.state, sources.root)
    second = machine.mount(sources.root, sources.root)
    found = [first] if first else []
    if second and (not first or (second.total, second.free) != (first.total, first.free)):
        found.append(second)
    return found


def _kernel_log(root: Path) -> list[str]:
    """The kernel's words since the start, or of the card's own log where it is a card."""
    if root != machine.ROOT:
        return machine.text(root / "var/log/kern.log").splitlines()[-5000:]
    try:
        done = subprocess.run(
            ["dmesg"], capture_output=True, text=True, errors="replace", timeout=3, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()[-5000:]


def _net(host: str, port: int, wanted: set[str], sources: Sources, tell: Tell) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wanted & {"net", "uplink"}:
        tell(f"reaching {host or 'the network'}")
        found["net"] = network.net(
            host, port, tries=sources.tries, root=sources.root, wait=sources.dial
        )
    if "modem" in wanted:
        found["modem"] = network.modem(network.default_route(sources.root))
    return found


def _trust(sources: Sources, config: Config, wanted: set[str]) -> dict[str, Any]:
    """The identity, and a handshake with it. A site without a hub (direct mode) needs neither."""
    found: dict[str, Any] = {}
    host, port = config.host, config.port
    if config.gateway and not config.hub:
        return found
    if wanted & {"trust", "config", "uplink"}:
        found["trust"] = program.trust(sources.state)
    if "uplink" in wanted and host:
        found["tls"] = program.tls(sources.state, host, port, sources.dial)
    return found


async def _lines(
    sources: Sources,
    clock: Clock,
    wanted: set[str],
    site: Site | None,
    registry: Registry | None,
    status: dict[str, Any] | None,
    tell: Tell,
    leased: Callable[[], Access] | None,
) -> list[Line]:
    """Links in trouble are examined; without a daemon, all of them."""
    if not wanted & {"bus", "sensors"} or site is None or registry is None or not sources.probe:
        return []
    access: Access = Direct()
    names: list[str] = []
    if status is not None:
        names = troubled(status)
        if not names or leased is None:
            return []
        access = leased()
    return await Examiner(
        site, registry, access, clock, tell, sources.seconds, sources.state
    ).links(names)


def generations(status: dict[str, Any]) -> dict[str, Any]:
    """What became of the newest configuration, where that was not what the operator wanted."""
    told = status.get("configuration") or {}
    found: dict[str, Any] = {}
    last, refused = told.get("last") or {}, told.get("refused") or {}
    if last.get("outcome") == "reverted":
        found["reverted"] = {"number": last.get("number", 0), "why": last.get("reason", "")}
    if refused:
        found["refused"] = f"{refused.get('code', '')}: {refused.get('reason', '')}"
    return found


def troubled(status: dict[str, Any]) -> list[str]:
    """Links that are open, with a device on them that is not well."""
    opened = {b["name"] for b in status.get("buses", ()) if b["state"] not in _TROUBLED}
    found = {
        d["link"]
        for d in status.get("devices", ())
        if d["state"] in _TROUBLED or _damaged(d.get("counts") or {})
    }
    return sorted(opened & found)


def _damaged(counts: dict[str, int]) -> bool:
    polls = counts.get("polls", 0)
    return polls >= _WARM and counts.get("ok", 0) < 0.98 * polls
