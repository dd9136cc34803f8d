"""Modbus/TCP with the whole pipeline behind it, down to the durable ring: P3 and P8. One JSON line a figure.

python bench/modbus_tcp.py [seconds per round]

The devices are one process that answers each request after 20 ms, on a core of its own as if it were elsewhere: on the
gateway's core, to which Linux likes to draw who talks to it, it would answer only when the gateway sleeps, all at once.
With two cores the gateway, its ring's thread included, has the other one. What that process and this machine can do at
most is measured in the same run, in turns with the gateway, by a bare event loop that sends the same requests and looks
at nothing. P8 asks for twenty times more than can come; P3 asks 20 meters of 20 points once a second, and takes the
times at which the requests reach the devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, cast

from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.clock import SystemClock
from lamppost.config.schema import DeviceSettings, Identity, ModbusTcpLink, Site, UplinkSettings
from lamppost.intake import Intake
from lamppost.ring import Ring
from lamppost.ring.offloop import OffLoop
from lamppost_drivers.contract import Documentation, Point, Register, RegisterMap

DEVICES = 200
ANSWER = 0.020  # seconds a device takes
WARM_UP = 1.0
ROUNDS = 5
GROUP = 1.0  # seconds between durable groups


# --- the devices: a process of its own


class Devices(asyncio.Protocol):
    """One connection. Answers of all of them go out in the order of their time, by one timer."""

    queue: ClassVar[deque[tuple[float, asyncio.WriteTransport, bytes]]] = deque()
    times: ClassVar[dict[int, list[float]]] = {}  # by port of the client, while a round asks
    keep_times = False
    timer = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self.client = transport.get_extra_info("peername")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        words = int.from_bytes(data[10:12], "big")
        body = bytes((data[6], data[7], 2 * words)) + b"\x42\x48" * words
        answer = data[:4] + len(body).to_bytes(2, "big") + body
        Devices.queue.append((now + ANSWER, self.transport, answer))
        if Devices.keep_times:
            Devices.times.setdefault(self.client, []).append(now)
        if not Devices.timer:
            Devices.timer = True
            asyncio.get_running_loop().call_later(ANSWER, Devices.send)

    @staticmethod
    def send() -> None:
        """Answer whatever is due within half a millisecond: the timers here count whole ones."""
        now, queue = time.monotonic() + 0.0005, Devices.queue
        while queue and queue[0][0] <= now:
            _, transport, answer = queue.popleft()
            if not transport.is_closing():
                transport.write(answer)
        Devices.timer = bool(queue)
        if queue:
            asyncio.get_running_loop().call_later(max(0.0, queue[0][0] - now), Devices.send)


def devices(control: Connection, cores: set[int]) -> None:
    """On these cores serve until told to stop; "times" begins to note when requests come, "told" hands that over."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        os.sched_setaffinity(0, cores)
        server = await loop.create_server(Devices, "127.0.0.1", 0)
        control.send(server.sockets[0].getsockname()[1])
        while (said := await loop.run_in_executor(None, control.recv)) != "stop":
            Devices.keep_times = said == "times"
            if said == "told":
                control.send(list(Devices.times.values()))
            Devices.times.clear()

    with runner() as loop:
        loop.run(main())


@contextmanager
def serving() -> Iterator[tuple[int, Connection]]:
    """The devices' port, and the way to talk to their process; we keep to the other cores meanwhile."""
    cores = os.sched_getaffinity(0)
    last = {max(cores)}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=devices, args=(theirs, last))
    process.start()
    os.sched_setaffinity(0, (cores - last) or cores)
    try:
        yield ours.recv(), ours
    finally:
        os.sched_setaffinity(0, cores)
        ours.send("stop")
        process.join()


def runner() -> asyncio.Runner:
    """The daemon's event loop: uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


# --- what can be had at most


class Bare(asyncio.Protocol):
    """Asks again as soon as an answer is there."""

    answers = 0

    def __init__(self, request: bytes) -> None:
        self.request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        Bare.answers += 1
        self.transport.write(self.request)


async def bare(port: int, words: int, seconds: float) -> float:
    """Answers a second of an event loop that does nothing else."""
    loop = asyncio.get_running_loop()
    request = bytes.fromhex("000100000006010400 00") + words.to_bytes(2, "big")
    made = [
        await loop.create_connection(lambda: Bare(request), "127.0.0.1", port)
        for _ in range(DEVICES)
    ]
    await asyncio.sleep(WARM_UP)
    before, start = Bare.answers, time.monotonic()
    await asyncio.sleep(seconds)
    rate = (Bare.answers - before) / (time.monotonic() - start)
    for transport, _ in made:
        transport.abort()
    await asyncio.sleep(0.2)
    return rate


# --- the gateway


@dataclass(frozen=True)
class Round:
    """What one round of the gateway came to."""

    rate: float
    cpu: float
    grown: float  # MB of resident memory
    skipped: int
    stored: int


def site(port: int, count: int, every: float) -> Site:
    """So many meters, each on a connection of its own."""
    links = tuple(
        ModbusTcpLink.model_construct(
            kind="modbus-tcp", name=f"l{n}", host="127.0.0.1", port=port, timeout=1.0
        )
        for n in range(count)
    )
    meters = tuple(
        DeviceSettings.model_construct(
            name=f"meter-{n}", model="bench", link=f"l{n}", unit=1, every=every
        )
        for n in range(count)
    )
    return Site(
        site=Identity(gateway="gw", hub="hub"),
        uplink=UplinkSettings(host="localhost"),
        link=links,
        device=meters,
    )


def meter(words: int) -> Registry:
    """A meter of float32 points in one block."""
    registers = tuple(
        Register(Point(f"p{at}", "V", 0, 1e9), at, "float32", "input", "big", 2)
        for at in range(0, words, 2)
    )
    return Registry([{"bench": RegisterMap("bench", registers, Documentation((), "bench"), ())}])


@asynccontextmanager
async def gateway(
    folder: Path, plan: Site, words: int
) -> AsyncIterator[tuple[acquire.Acquisition, OffLoop]]:
    """Links, pollers, quality, intake and the ring, as the daemon joins them."""
    clock, ring = SystemClock(), OffLoop(Ring.open(folder / "ring", 256 * 2**20))
    intake = Intake(ring)
    acquisition = acquire.build(plan, meter(words), clock, intake.deliver, folder)

    async def store() -> None:
        due = clock.monotonic()
        while True:
            due += GROUP
            await clock.sleep_until(due)
            await intake.flush()

    running = [asyncio.create_task(acquisition.run()), asyncio.create_task(store())]
    try:
        yield acquisition, ring
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await ring.close()


async def flood(port: int, words: int, seconds: float) -> Round:
    """Ask every device every millisecond; it can answer each 20 ms."""
    with tempfile.TemporaryDirectory() as name:
        async with gateway(Path(name), site(port, DEVICES, 0.001), words) as (acquisition, ring):
            await asyncio.sleep(WARM_UP)
            before, memory, used = answered(acquisition), resident(), cpu()
            start = time.monotonic()
            await asyncio.sleep(seconds)
            passed = time.monotonic() - start
            after = answered(acquisition)
            skipped = sum(bus.skipped for bus in acquisition.status())
            return Round(
                (after - before) / passed,
                (cpu() - used) / passed,
                resident() - memory,
                skipped,
                ring.stats().appended,
            )


async def regular(port: int, control: Connection, seconds: float) -> list[list[float]]:
    """When the requests of 20 meters at 1 s reached them, meter by meter."""
    with tempfile.TemporaryDirectory() as name:
        async with gateway(Path(name), site(port, 20, 1.0), 40):
            await asyncio.sleep(WARM_UP)
            control.send("times")
            await asyncio.sleep(seconds)
            control.send("told")
            found: list[list[float]] = await asyncio.to_thread(control.recv)
            return found


def answered(acquisition: acquire.Acquisition) -> int:
    """Good answers so far."""
    return sum(device.counts.ok for bus in acquisition.status() for device in bus.devices)


def resident() -> float:
    """MB of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def cpu() -> float:
    """Seconds of CPU of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def off_grid(times: Sequence[float], period: float) -> tuple[list[float], float]:
    """How far each time is from the grid that fits best (seconds), and how much the grid drifts a period."""
    steps = [round((at - times[0]) / period) for at in times]
    drift = statistics.linear_regression(steps, times).slope - period
    origin = statistics.median(at - n * period for n, at in zip(steps, times, strict=True))
    return [abs(at - origin - n * period) for n, at in zip(steps, times, strict=True)], drift


# --- figures


def report(what: str, value: float, unit: str, ratio: float, against: str, **more: object) -> None:
    """One figure."""
    figure = {
        "bench": "modbus_tcp",
        "what": what,
        "value": round(value, 3),
        "unit": unit,
        "ratio": round(ratio, 4),
        "against": against,
        **more,
        "load": round(os.getloadavg()[0], 1),  # far above one: others had the machine too
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(figure), flush=True)


def overload(port: int, words: int, seconds: float) -> None:
    """P8: the gateway and the bare loop in turns."""
    most, ours = [], []
    for _ in range(ROUNDS):
        with runner() as loop:
            most.append(loop.run(bare(port, words, seconds)))
        with runner() as loop:
            ours.append(loop.run(flood(port, words, seconds)))
    limit, best = DEVICES / ANSWER, statistics.median(most)
    rate = statistics.median(each.rate for each in ours)
    turns = [each.rate / bare for bare, each in zip(most, ours, strict=True)]
    report(
        f"P8 {DEVICES} Modbus/TCP devices, {words} registers each, into the ring",
        rate,
        "requests/s",
        rate / limit,
        f"{limit:.0f}/s, what the devices can answer",
        bare_loop=round(best),
        ratio_to_bare_loop=round(statistics.median(turns), 4),
        rounds=[[round(bare), round(each.rate)] for bare, each in zip(most, ours, strict=True)],
        cpu_percent=round(100 * statistics.median(each.cpu for each in ours), 1),
        cpu_us_a_request=round(1e6 * min(each.cpu / each.rate for each in ours), 1),
    )
    grown = max(each.grown for each in ours[1:])
    asked = ours[-1].skipped + ours[-1].rate * seconds
    report(
        f"P8 memory that {seconds:g} s of overload add, {words} registers",
        grown,
        "MB",
        asked / (ours[-1].rate * seconds),
        "what could be answered (demand)",
        skipped=ours[-1].skipped,
    )


def main(seconds: float) -> None:
    with serving() as (port, control):
        for words in (2, 20):
            overload(port, words, seconds)
        with runner() as loop:
            found = loop.run(regular(port, control, max(60.0, 3 * seconds)))
    grids = [off_grid(times, 1.0) for times in found]
    off = sorted(each for grid, _ in grids for each in grid)
    drift = max((abs(drift) for _, drift in grids), default=0.0)
    p99 = off[min(len(off) - 1, round(0.99 * len(off)))]
    report(
        "P3 deviation from the 1 s grid, 20 meters of 20 points, p99",
        1000 * p99,
        "ms",
        p99 / 0.005,
        "5 ms",
        polls=len(off),
        worst_ms=round(1000 * off[-1], 3),
        drift_us_a_period=round(1e6 * drift, 3),
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
