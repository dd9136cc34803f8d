"""`lamppost sensors read`: the newest values by the daemon, or one real reading by our own poller where none runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lamppost import acquire
from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import Progress, paint, say
from lamppost.clock import SystemClock
from lamppost.config.schema import DeviceSettings
from lamppost.errors import LinkError
from lamppost.model import Sample
from lamppost.status.control import ask

_PATIENCE = 12.0


def show(socket: Path, state: Path, site: Path, name: str, count: int, *, as_json: bool) -> None:
    """Print `count` readings. Raises LinkError `link.no-answer` where the device gives no good value."""
    found = reach(socket, state, site, "lamppost sensors read")
    device = found.device(name)
    units = {p.name: p.unit for p in found.registry.find(device.model).points}
    progress = Progress(quiet=as_json)
    progress(f"reading {device.name}")
    if found.status is not None:
        samples = asyncio.run(_from_daemon(found, socket, device, count))
    else:
        samples = asyncio.run(read_here(found, device, count, state))
    progress.clear()
    good = any(r["quality"] == "good" for s in samples for r in s.values())
    if as_json:
        rows = [
            {p: {**r, "unit": units.get(p, "")} for p, r in sample.items()} for sample in samples
        ]
        answer = {
            "schema": "lamppost.sensors-read/1",
            "via": found.via,
            "device": device.name,
            "samples": rows,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        via(found.via)
        for sample in samples:
            for line in rows_of(sample, units):
                say(line)
    if not good:
        raise LinkError(
            f"{device.name} gave no good value",
            code="link.no-answer",
            hint=f"lamppost sensors test {device.name}",
            retry=True,
        )
    if not as_json:
        say(paint(f"OK {device.name}: {len(samples[-1])} points", "good"))


def rows_of(sample: Mapping[str, Any], units: Mapping[str, str]) -> list[str]:
    """One line a point: name, value, unit, doubt."""
    name = max((len(point) for point in sample), default=0)
    rows = []
    for point, reading in sample.items():
        value = reading["value"]
        shown = "-" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
        doubt = "" if reading["quality"] == "good" else f"  {reading['quality']}"
        unit = units.get(point, "")
        rows.append(f"{point:{name}}  {shown:>12} {'' if unit == '/' else unit}{doubt}".rstrip())
    return rows


async def _from_daemon(
    found: Reach, socket: Path, device: DeviceSettings, count: int
) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    clock, seen = SystemClock(), -1
    deadline = clock.monotonic() + _PATIENCE + count * device.every * 1.5
    while len(samples) < count and clock.monotonic() < deadline:
        status = await asyncio.to_thread(ask, socket, {"do": "status"})
        told = next(d for d in status["devices"] if d["name"] == device.name)
        polls = told["counts"]["polls"] + told["counts"]["absent"] + told["counts"]["ok"]
        if told["readings"] and (polls != seen or not samples):
            seen = polls
            samples.append(told["readings"])
        if len(samples) < count:
            await clock.sleep_until(clock.monotonic() + min(1.0, device.every / 2))
    return samples


async def read_here(
    found: Reach, device: DeviceSettings, count: int, state: Path
) -> list[dict[str, Any]]:
    """The gateway's own poller for this one device, until it has given `count` samples."""
    samples: asyncio.Queue[Sample] = asyncio.Queue()
    links = tuple(link for link in found.site.link if link.name == device.link)
    alone = found.site.model_copy(update={"link": links, "device": (device,)})
    clock = SystemClock()
    acquisition = acquire.build(alone, found.registry, clock, samples.put_nowait, state)
    running = asyncio.create_task(acquisition.run())
    rows: list[dict[str, Any]] = []
    try:
        while len(rows) < count:
            async with asyncio.timeout(_PATIENCE + device.every):
                sample = await samples.get()
            rows.append(
                {r.point: {"value": r.value, "quality": r.quality.reason} for r in sample.readings}
            )
    except TimeoutError:
        pass
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return rows or [{}]
