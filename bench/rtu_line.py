"""How much of an RTU line the gateway uses, silences kept: P4, P5, P6, P7. One JSON line a figure.

python bench/rtu_line.py [seconds per figure]

The lines are simulated in processes of their own and count the time that nobody else may use (bytes, t3.5 silences,
turnarounds of the units). `ratio` is that time's share in the same run: 1.0 is the wire's own limit.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from hwsim.line import Line
from hwsim.modbus import RtuUnit, Unit
from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.clock import SystemClock
from lamppost.config.schema import DeviceSettings, Identity, ModbusRtuLink, Site, UplinkSettings
from lamppost.model import Sample, Severity
from lamppost_drivers.contract import Documentation, Point, Register, RegisterMap

TURNAROUND = 0.004  # seconds a unit of the bench takes before it answers
GRANULARITY = "dma8"  # eight lines that wake for each byte would need more than this machine has
WARM_UP = 2.0
DEAD_FIRST = 25.0  # until a dead unit is known as one and its probes have reached their pace


def simulated(path: str, baud: int, units: int, dead: tuple[int, ...], control: Connection) -> None:
    """A process that is one line; answers "reset" and "stats" until it hears anything else."""
    words = dict.fromkeys(range(250), 0x4248)
    on_it = [RtuUnit(n, Unit(inputs=words), delay=TURNAROUND) for n in range(1, units + 1)]
    for unit in on_it:
        unit.faults.dead = unit.unit in dead
    with Line(path, baud, devices=on_it, granularity=GRANULARITY) as line:
        control.send("ready")
        while (said := control.recv()) in ("reset", "stats"):
            if said == "reset":
                line.reset_stats()
            control.send((line.use(), line.stats().as_dict()))


@contextmanager
def lines(
    folder: Path, count: int, baud: int, units: int, dead: tuple[int, ...]
) -> Iterator[list[Connection]]:
    """So many lines, each in its own process."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for n in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=simulated, args=(str(folder / f"line{n}"), baud, units, dead, theirs)
        )
        process.start()
        assert ours.recv() == "ready"
        ends.append(ours)
        processes.append(process)
    try:
        yield ends
    finally:
        for end, process in zip(ends, processes, strict=True):
            end.send("stop")
            process.join()


@dataclass(frozen=True)
class Result:
    """What one run came to, of all lines together."""

    use: float
    violations: int
    requests: dict[int, int]
    good: int
    cpu: float
    seconds: float


def driver(words: int) -> RegisterMap:
    """A meter of float32 points in one block of `words` registers."""
    registers = tuple(
        Register(Point(f"p{at}", "V", 0, 1e9), at, "float32", "input", "big", 2)
        for at in range(0, words, 2)
    )
    return RegisterMap("bench", registers, Documentation((), "bench"), ())


async def polled(
    site: Site, registry: Registry, ends: list[Connection], warm: float, seconds: float
) -> Result:
    """Poll for a while, and count only what happens after the warm-up."""
    good = 0

    def deliver(sample: Sample) -> None:
        nonlocal good
        good += sum(r.quality.severity is Severity.GOOD for r in sample.readings)

    polling = asyncio.create_task(acquire.build(site, registry, SystemClock(), deliver).run())
    await asyncio.sleep(warm)
    for end in ends:
        end.send("reset")
        end.recv()
    start, before = good, resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(seconds)
    use, requests, violations = 0.0, dict[int, int](), 0
    after = resource.getrusage(resource.RUSAGE_SELF)
    for end in ends:
        end.send("stats")
        used, stats = end.recv()
        use += used / len(ends)
        violations += stats["violations"] + stats["splits"]
        for unit, count in stats["requests"].items():
            requests[unit] = requests.get(unit, 0) + count
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    return Result(use, violations, requests, good - start, cpu, seconds)


def run(
    words: int, baud: int, seconds: float, *, units: int = 1, buses: int = 1, dead: tuple[int, ...] = (),
    warm: float = WARM_UP,
) -> Result:  # fmt: skip
    """Ask for more than the lines can carry, and see what they carried."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        links = tuple(
            ModbusRtuLink.model_construct(
                kind="modbus-rtu", name=f"line{n}", port=folder / f"line{n}", baud=baud, timeout=0.3
            )
            for n in range(buses)
        )
        devices = tuple(
            DeviceSettings.model_construct(
                name=f"{link.name}-{unit}", model="bench", link=link.name, unit=unit, every=0.002
            )
            for link in links
            for unit in range(1, units + 1)
        )
        site = Site(
            site=Identity(gateway="gw", hub="hub"),
            uplink=UplinkSettings(host="localhost"),
            link=links,
            device=devices,
        )
        registry = Registry([{"bench": driver(words)}])
        with lines(folder, buses, baud, units, dead) as ends, runner() as loop:
            return loop.run(polled(site, registry, ends, warm, seconds))


def runner() -> asyncio.Runner:
    """The daemon's event loop: uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def report(what: str, value: float, unit: str, ratio: float, against: str, result: Result) -> None:
    """One figure."""
    figure = {
        "bench": "rtu_line",
        "what": what,
        "value": round(value, 3),
        "unit": unit,
        "ratio": round(ratio, 4),
        "against": against,
        "t35_violations": result.violations,
        "cpu_percent": round(100 * result.cpu / result.seconds, 2),
        "load": round(os.getloadavg()[0], 1),  # far above one: others had the machine too
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(figure), flush=True)


def main(seconds: float) -> None:
    wire = "the wire with t3.5"
    for words, baud in ((40, 9600), (40, 19200), (124, 19200), (2, 115200), (40, 115200)):
        result = run(words, baud, seconds)
        rate = sum(result.requests.values()) / seconds
        what = f"P4 line use, {words} registers at {baud}"
        report(what, rate, "requests/s", result.use, wire, result)
    result = run(40, 19200, seconds, buses=8)
    report("P5 line use, 8 buses at 19200", result.use, "share", result.use, wire, result)
    result = run(40, 19200, seconds)
    what = "P6 values of 20 float points at 19200"
    report(what, result.good / seconds, "values/s", result.use, wire, result)
    alone = run(40, 19200, 3 * seconds, units=9)
    result = run(40, 19200, 3 * seconds, units=10, dead=(10,), warm=DEAD_FIRST)
    kept = sum(result.requests[n] for n in range(1, 10)) / sum(alone.requests.values())
    what = "P7 requests that nine units keep beside a dead tenth"
    report(what, kept, "share", kept, "the nine alone", result)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
