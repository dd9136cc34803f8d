"""How long an alert takes from its sample to the hub's sink, alone and while a week's backlog drains.

python bench/alerts.py [days] [alerts]

A real gateway, Mosquitto and `lamppost-hub receive` on this machine. The gateway reads a level probe over Modbus/TCP
five times a second; its ring holds `days` of unsent readings of 20 meters with 20 points each, one a minute. While that
drains the level rises and falls in steps, and with each step one of 32 rules is broken or kept again; the time is from
the sample that did it (the alert's `observedAt`) to the line that the jsonl sink has on its disk, looked for every 5
ms. One JSON line a figure.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.level_probe import LevelProbe, SinkFile, fill, meters, write_map  # noqa: E402
from hwsim.demo.bench import Bench  # noqa: E402

LOOK = 0.005
RULES = 32  # each may be raised four times before its bound holds it back
STEP = 0.25
PATIENCE = 60.0


def rules() -> str:
    """One rule a step of the level."""
    return "".join(
        f"""
[[alert]]
name = "level-{n:02}"
kind = "threshold"
device = "well"
point = "level"
above = {1 + n * STEP}
clear = {1 + n * STEP - 0.1}
repeat = "1min"
"""
        for n in range(RULES)
    )


def level(number: int) -> float:
    """The level at which exactly the alert of that number is said: up through all rules, then down, and again."""
    phase = number % (2 * RULES)
    steps = phase + 1 if phase < RULES else 2 * RULES - phase - 1
    return 1 + (steps - 1) * STEP + 0.05


@dataclass
class Seen:
    """Alerts as they arrived: seconds from the sample to the sink, and how many readings had been drained by then."""

    latency: list[float] = field(default_factory=list)
    drained: list[int] = field(default_factory=list)


def turn(probe: LevelProbe, sink: SinkFile, seen: Seen) -> bool:
    """Let the level rise or fall and wait until the sink has the alert."""
    before = len(sink.alerts())
    probe.level = level(before)
    deadline = time.monotonic() + PATIENCE
    while len(sink.alerts()) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    now = time.time()
    at = datetime.fromisoformat(sink.alerts()[-1][2]).timestamp()
    seen.latency.append(now - at)
    seen.drained.append(sink.reached() + 1)
    return True


def share(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def say(what: str, value: float, unit: str, **more: object) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    line = {"bench": "alerts", "what": what, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps({**line, "machine": machine}), flush=True)


def report(what: str, seen: Seen, **more: object) -> None:
    """p50, p99 and the worst of one run."""
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        more[name] = round(share(seen.latency, part), 3)
    say(what, share(seen.latency, 0.99), "s p99", alerts=len(seen.latency),
        worst=round(max(seen.latency), 3), **more)  # fmt: skip


def main(days: float, alerts: int) -> None:
    minutes = round(days * 1440)
    with tempfile.TemporaryDirectory() as name, LevelProbe() as probe:
        bench = Bench(Path(name))
        sink = SinkFile(bench.folder / "sink.jsonl")
        bench.sinks = (f"jsonl:{bench.folder / 'sink.jsonl'}",)
        probe.level = 0.5
        site = (
            probe.site(every="200ms", size="256MiB").partition("[[alert]]")[0] + meters() + rules()
        )
        bench.prepare(site)
        write_map(bench)
        filled = fill(bench.gateway_state, time.time_ns() - 60 * 10**9, minutes, size=256 << 20)
        try:
            bench.start_broker()
            bench.start_receiver()
            bench.start_gateway()
            busy = Seen()
            while sink.reached() < filled - 1 and len(busy.latency) < alerts:
                if not turn(probe, sink, busy):
                    break
                time.sleep(0.5)
            behind = filled - (sink.reached() + 1)
            report(f"alert from sample to sink while {days:g} days of backlog drain", busy,
                   backlog_readings=filled, left_at_last_alert=behind)  # fmt: skip
            while sink.reached() < filled - 1 and bench.alive("gateway"):
                time.sleep(0.2)
            calm = Seen()
            while len(calm.latency) < min(alerts, 10) and turn(probe, sink, calm):
                time.sleep(0.5)
            report("alert from sample to sink, nothing else to send", calm)
        finally:
            bench.close()


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 7.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else 200,
    )
