"""`lamppost bus soak`: asks again and again and counts, with statistics at the end as mbpoll gives them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import Progress, note, paint, say
from lamppost.clock import SystemClock
from lamppost.config.schema import (
    LinkSettings,
    MbusLink,
    MbusTcpLink,
    ModbusRtuLink,
    ModbusTcpLink,
)
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.facts import Trial
from lamppost.diagnosis.wire import frames, mbus
from lamppost.diagnosis.wire.line import RawLine, text_of
from lamppost.diagnosis.wire.plan import LinePlan, UnitPlan
from lamppost.diagnosis.wire.rtu import whole
from lamppost.links.serial import LineSettings

_KINDS = ("modbus-rtu", "modbus-tcp", "mbus", "mbus-tcp")
_OTHERWISE = {
    "serial": "its sensor is listened to, or asked in a way of its own: lamppost bus probe --link {link}",
    "i2c": "its devices only acknowledge or do not: lamppost bus probe --link {link}",
    "ble": "its devices advertise when they like; watch them: lamppost watch",
    "gpio": "its pins are counted, not asked: lamppost bus probe --link {link}",
}
_LOAN = 60.0
"""Seconds after which the bus is given back for a moment, so that readings go on at least once a minute."""
_PAUSE = 2.0
_FINE = 0.005


@dataclass(slots=True)
class Count:
    """How one unit answered."""

    device: str
    where: str
    asked: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)

    def take(self, outcome: str, ms: float) -> None:
        """One request more."""
        self.asked += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if outcome == "good":
            self.ms.append(ms)

    @property
    def lost(self) -> int:
        """Requests without a sound answer in time."""
        return self.asked - self.outcomes.get("good", 0) - self.outcomes.get("refused", 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        times = sorted(self.ms) or [0.0]
        return {
            "device": self.device,
            "where": self.where,
            "asked": self.asked,
            **{
                k: self.outcomes.get(k, 0) for k in ("good", "silent", "damaged", "late", "refused")
            },
            "ms_least": times[0],
            "ms_median": round(statistics.median(times), 1),
            "ms_most": times[-1],
        }


Asker: TypeAlias = Callable[[RawLine, Count], Awaitable[Trial]]


def soak(
    socket: Path,
    state: Path,
    site: Path,
    device: str | None,
    links: tuple[str, ...],
    seconds: float,
    *,
    as_json: bool,
) -> None:
    """Ask until the time is over or Ctrl-C. Exit 1 where more than one request in 200 was lost."""
    found = reach(socket, state, site, "lamppost bus soak", _LOAN + 10)
    only = found.device(device) if device else None
    chosen = found.links((only.link,) if only else links, _KINDS, _OTHERWISE)
    if not chosen:
        raise click.UsageError("this site has no Modbus or M-Bus link; try: lamppost bus probe")
    progress = Progress(quiet=as_json)
    counts: list[Count] = []
    if seconds > 10 and not as_json:
        note(f"asking for {seconds:g} s; Ctrl-C ends it and shows the counts")
    try:
        asyncio.run(_all(found, chosen, only.name if only else "", seconds, counts, progress))
    except KeyboardInterrupt:
        pass
    finally:
        progress.clear()
    _finish(found.via, counts, seconds, as_json=as_json)


async def _all(
    found: Reach,
    links: list[LinkSettings],
    device: str,
    seconds: float,
    counts: list[Count],
    progress: Progress,
) -> None:
    await asyncio.gather(*(_one(found, link, device, seconds, counts, progress) for link in links))


async def _one(
    found: Reach,
    link: LinkSettings,
    device: str,
    seconds: float,
    counts: list[Count],
    progress: Progress,
) -> None:
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    line = line_of(link, drivers)
    asked = [each for each in _askers(found, link, line) if not device or each[0].device == device]
    mine = [count for count, _ in asked]
    counts.extend(mine)
    clock = SystemClock()
    end = clock.monotonic() + seconds
    while asked and clock.monotonic() < end:
        stop = min(end, clock.monotonic() + _LOAN)
        async with found.access.raw(link) as raw:
            await raw.use(line)
            while clock.monotonic() < stop:
                for count, ask in asked:
                    trial = await ask(raw, count)
                    count.take(trial.outcome, trial.ms)
                done = sum(count.asked for count in mine)
                lost = sum(count.lost for count in mine)
                left = max(0.0, end - clock.monotonic())
                progress(f"{link.name}: {done} asked, {lost} lost, {left:.0f} s to go")
        if stop < end and found.status:
            await clock.sleep_until(clock.monotonic() + _PAUSE)


def _askers(found: Reach, link: LinkSettings, line: LineSettings) -> list[tuple[Count, Asker]]:
    """For each device its count and how it is asked once."""
    examiner = found.examiner()
    if isinstance(link, MbusLink | MbusTcpLink):
        bus = examiner.mbus_plan(link, line)
        return [
            (
                Count(meter.device, f"{link.name}/{meter.secondary or meter.unit}"),
                partial(_read_out, bus, meter),
            )
            for meter in bus.meters
        ]
    assert isinstance(link, ModbusRtuLink | ModbusTcpLink)
    plan = examiner.modbus_plan(link, line)
    return [
        (Count(unit.device, f"{link.name}/{unit.unit}"), partial(_ask, plan, unit))
        for unit in plan.units
    ]


async def _read_out(plan: mbus.MbusPlan, meter: mbus.Meter, raw: RawLine, count: Count) -> Trial:
    del count
    return await mbus.ask(raw, meter, plan.line, plan.timeout)


async def _ask(plan: LinePlan, unit: UnitPlan, raw: RawLine, count: Count) -> Trial:
    ask = unit.long if unit.long is not None and count.asked % 2 else unit.short
    request = frames.read_frame(unit.unit, ask.function, ask.address, ask.count)
    heard = await whole(raw, request, plan.timeout)
    return frames.judged(request, heard, text_of(plan.line), plan.timeout)


def _finish(via_: str, counts: list[Count], seconds: float, *, as_json: bool) -> None:
    asked, lost = sum(c.asked for c in counts), sum(c.lost for c in counts)
    bad = asked == 0 or lost > _FINE * asked
    worst = max(counts, key=lambda c: c.lost, default=None)
    closing = f"OK {asked} requests, {lost} lost"
    if bad:
        name = worst.device if worst else ""
        closing = (
            f"PROBLEM {lost} of {asked} requests lost; type: lamppost bus probe {name}".rstrip()
        )
    if as_json:
        import orjson

        answer = {
            "schema": "lamppost.bus-soak/1",
            "via": via_,
            "seconds": seconds,
            "ok": not bad,
            "units": [count.as_dict() for count in counts],
            "verdict": closing,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        via(via_)
        for count in counts:
            row = count.as_dict()
            share = 100 * count.lost / max(1, count.asked)
            say(paint(f"{row['device']}  {row['where']}", "bold"))
            say(f"  {row['asked']} asked, {row['good']} good, {count.lost} lost ({share:.1f} %)")
            say(f"  silent {row['silent']}, damaged {row['damaged']}, late {row['late']}")
            times = "/".join(f"{row[f'ms_{which}']:.0f}" for which in ("least", "median", "most"))
            say(f"  refused {row['refused']}")
            if count.ms:
                say(f"  {times} ms least/median/most")
        say(paint(closing, "bad" if bad else "good"))
    if bad:
        raise SystemExit(1)
