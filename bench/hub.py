"""P13: what a hub does with a batch of 2,000 readings: verify, open, book, receipt, give to a sink that does nothing.

One JSON line a figure: batches a second and core over SQLite and PostgreSQL, by CPU time of the receiving process, to
a sink that takes the payload as it is and to one that asks for its entities; then wall-clock batches a second of one
and of two receivers with a real broker and PostgreSQL, and whose CPU that was. The batches are what a gateway makes of
a minute of three-phase meters: with one reading a window, which is the most JSON a reading can cost, and with five.

python bench/hub.py [batches]
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.fast_gateway import FastGateway  # noqa: E402
from fakes.hub_stage import Stage  # noqa: E402
from fakes.level_probe import ABOUT, POINTS  # noqa: E402
from fakes.postgres import Postgres  # noqa: E402
from lamppost.aggregate import Carry, Timed, reduce_windows  # noqa: E402
from lamppost.envelope.seal import open_message  # noqa: E402
from lamppost.model import Instant, Reading, Sample, TimeQuality  # noqa: E402
from lamppost.ngsild.entities import entities_of  # noqa: E402
from lamppost.ngsild.site import DevicePlan, SitePlan  # noqa: E402
from lamppost_hub import daemon  # noqa: E402
from lamppost_hub.clock import SystemClock  # noqa: E402
from lamppost_hub.delivery import Delivery  # noqa: E402
from lamppost_hub.folder import HubFolder  # noqa: E402
from lamppost_hub.forward import Archive, Forwarder  # noqa: E402
from lamppost_hub.founding import load_keys  # noqa: E402
from lamppost_hub.queue import Queue  # noqa: E402
from lamppost_hub.registry import Registry  # noqa: E402
from lamppost_hub.sink_choice import ChosenSink  # noqa: E402
from lamppost_hub.thread import DatabaseThread  # noqa: E402
from lamppost_hub.transport import Incoming  # noqa: E402
from unit.hub.world import HUB, HubWorld, SealingGateway  # noqa: E402

READINGS = 2000
DELIVERED = (
    "SELECT coalesce(sum((SELECT count(*) FROM lamppost_hub.entries e WHERE e.gateway = c.gateway"
    " AND e.position <= c.through)), 0)::bigint FROM lamppost_hub.cursors c WHERE c.sink = 'null'"
)
BEGAN, MINUTE = 1_767_225_600 * 10**9, 60 * 10**9
GROUP = 64


class NullSink:
    """Takes everything, keeps nothing. With `looks` it asks for the entities first, as every real sink does."""

    def __init__(self, *, looks: bool = False) -> None:
        self._looks = looks

    async def write(self, delivery: Delivery) -> None:
        assert not self._looks or delivery.entities

    async def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch of 2,000 readings: so many three-phase meters of 20 points, each read so often in a minute's window."""

    meters: int
    often: int

    @property
    def words(self) -> str:
        often = "one reading" if self.often == 1 else f"{self.often} readings"
        return f"{self.meters} meters of 20 points, {often} a point and window"


SPARSE, DENSE = (
    Shape(100, 1),
    Shape(20, 5),
)  # a reading a window is the most JSON that readings can cost


@cache
def payload(number: int, shape: Shape = SPARSE) -> bytes:
    """What a gateway makes of a minute of such a site."""
    chance, start = random.Random(number % 8), BEGAN + number * MINUTE
    plan = SitePlan(
        "gw-1",
        devices=tuple(
            DevicePlan(f"meter-{n:03}", "meter", points=POINTS) for n in range(shape.meters)
        ),
    )
    samples = [
        Timed(
            Sample(device.name, Instant("boot", 0), readings(chance)),
            start + turn * (MINUTE // shape.often) + 250_000_000,
            TimeQuality.SYNCED,
        )
        for turn in range(shape.often)
        for device in plan.devices
    ]
    kinds = {(device.name, name): kind for device in plan.devices for name, _, kind in POINTS}
    windows, _ = reduce_windows(samples, MINUTE, kinds, Carry())
    return orjson.dumps(entities_of(windows, plan))


def readings(chance: random.Random) -> tuple[Reading, ...]:
    """One sample's, as 32-bit registers hold them."""
    about = [ABOUT.get(name.partition(".")[0], 1000.0) for name, _, _ in POINTS]
    exact = struct.pack(f"{len(POINTS)}f", *(value * chance.gauss(1.0, 0.01) for value in about))
    return tuple(
        Reading(name, value)
        for (name, _, _), value in zip(POINTS, struct.unpack(f"{len(POINTS)}f", exact), strict=True)
    )


def sealed(
    gateways: Sequence[SealingGateway], batches: int, shape: Shape = SPARSE
) -> list[Incoming]:
    """The batches as they come from the broker, the gateways in turn."""
    contents = [payload(number, shape) for number in range(8)]
    return [
        gateways[number % len(gateways)].next(READINGS, content=contents[number % 8])
        for number in range(batches)
    ]


async def drained(world: HubWorld, name: str, *, looks: bool = False) -> None:
    """Everything booked goes to a null sink."""
    thread = DatabaseThread()
    archive = Archive(HUB, Registry(world.database).signer_of, world.intake.recent)
    queue = Queue(world.database)
    forwarder = Forwarder(name, NullSink(looks=looks), queue, archive, thread, SystemClock())
    while await forwarder.round():
        pass
    thread.close()


def one_core(
    world: HubWorld, store: str, batches: int, shape: Shape = SPARSE, *, looks: bool = False
) -> dict[str, Any]:
    """CPU time of this process for all that a receiver does."""
    gateways = [world.enrol(f"gw-{number}") for number in range(16)]
    messages = sealed(gateways, batches, shape)
    asyncio.run(drained(world, "null"))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*daemon.THRESHOLD)  # as the receiver does
    began, cpu = time.perf_counter(), time.process_time()
    booked = 0.0
    for at in range(0, batches, GROUP):
        start = time.process_time()
        taken = world.intake.take(messages[at : at + GROUP])
        booked += time.process_time() - start
        assert len(taken.answers) == len(messages[at : at + GROUP])
        asyncio.run(drained(world, "null", looks=looks))  # what is booked is forwarded next
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    return {
        "bench": "hub",
        "what": f"P13 {store}{', the sink decodes' if looks else ''}: {shape.words}",
        "value": round(batches / cpu),
        "unit": "batches/s a core",
        "readings_per_second": round(batches * READINGS / cpu),
        "booking_alone": round(batches / booked),
        "wall": round(batches / wall),
        "batches": batches,
        "json": len(payload(0, shape)),
        "message": len(messages[0].payload),
        "cores": len(os.sched_getaffinity(0)),
    }


def receive(folder: Path, number: int) -> None:
    """A receiver process like any other, but for its sink."""
    chosen = [ChosenSink("null", NullSink(), 4)]
    for name, made in (
        ("open_sinks", lambda *_: chosen),
        ("sink_name", lambda _: "null"),
        ("is_bound", lambda _: False),
    ):
        setattr(daemon, name, made)
    choice = daemon.Choice(sinks=("null",), receiver=number, group="bench")
    daemon.run(HubFolder(folder), choice, ready=lambda text: print(f"ready {text}", flush=True))


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds of these processes and of the children that they have waited for."""
    spent = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += sum(map(int, fields[11:15]))
    return spent / os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def whole(server: Postgres, receivers: int, batches: int) -> dict[str, Any]:
    """Wall-clock and CPU time from the first PUBLISH to the null sink, through Mosquitto, PostgreSQL and receivers."""
    address, contents = server.emptied(), [payload(number) for number in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), address)
        stage.start_broker()
        assert stage.broker is not None
        processes = [
            subprocess.Popen(
                [sys.executable, str(HERE / "hub.py"), "receiver", str(stage.hub), str(number + 1)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for number in range(receivers)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline()
        gateways = [
            FastGateway(stage.enrol(f"gw-{number}"), stage.port, batches // 16, readings=READINGS,
                        content=lambda _, number: contents[number % 8])
            for number in range(16)
        ]  # fmt: skip
        pids = {"receivers": [p.pid for p in processes], "broker": [stage.broker.pid]}
        before = {name: cpu_of(found) for name, found in pids.items()}
        postgres, load = cpu_of(below(server.pid)), time.process_time()
        began = time.perf_counter()
        for gateway in gateways:
            gateway.start()
        with psycopg.connect(address, autocommit=True) as connection:
            while connection.execute(DELIVERED).fetchone() != (batches,):
                time.sleep(0.05)
            wall = time.perf_counter() - began
            cpu = {name: cpu_of(found) - before[name] for name, found in pids.items()}
            cpu["postgresql"] = cpu_of(below(server.pid)) - postgres
            cpu["gateways"] = time.process_time() - load
        for gateway in gateways:
            gateway.stop()
        for process in processes:
            process.terminate()
            process.communicate()
        stage.close()
    return {
        "bench": "hub",
        "what": f"P13 whole, {receivers} receiver{'s' if receivers > 1 else ''}",
        "value": round(batches / wall),
        "unit": "batches/s",
        "cpu_seconds": {name: round(spent, 2) for name, spent in cpu.items()},
        "wall_seconds": round(wall, 2),
        "cores_busy_with_this": round(sum(cpu.values()) / wall, 2),
        "ms_cpu_a_batch": {name: round(1000 * spent / batches, 2) for name, spent in cpu.items()},
        "sent": sum(gateway.sent for gateway in gateways),
        "batches": batches,
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def bare(batches: int) -> float:
    """Batches a second of verification and decoding alone: what no hub can do without."""
    with tempfile.TemporaryDirectory() as folder:
        world = HubWorld.make(Path(folder))
        messages = sealed([world.enrol()], batches)
        keys, registry = load_keys(world.folder), Registry(world.database)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*daemon.THRESHOLD)
        spent = time.process_time()
        for message in messages:
            opened = open_message(
                message.payload,
                message.topic,
                aud=HUB,
                hub_keys=keys.decryption,
                signer_of=registry.signer_of,
            )
            orjson.loads(opened.payload)
        spent = time.process_time() - spent
        world.database.close()
    return batches / spent


def main(batches: int) -> int:
    server = Postgres()
    try:
        server.start()
        limit = bare(min(batches, 256))
        for store, shape, looks in (
            ("SQLite", SPARSE, False),
            ("SQLite", DENSE, False),
            ("SQLite", SPARSE, True),
            ("SQLite", DENSE, True),
            ("PostgreSQL", SPARSE, False),
        ):
            address = server.emptied() if store == "PostgreSQL" else ""
            with tempfile.TemporaryDirectory() as folder:
                world = HubWorld.make(Path(folder), address)
                figure = one_core(world, store, batches, shape, looks=looks)
                world.database.close()
            if shape == SPARSE:
                figure["ratio"] = round(figure["value"] / limit, 2)
                figure["against"] = f"verify, open and decode alone, {limit:.0f}/s here"
            print(json.dumps(figure), flush=True)
        scaled(server, batches // 16 * 16)
    finally:
        server.remove()
    return 0


def scaled(server: Postgres, batches: int, rounds: int = 3) -> None:
    """One receiver and two, in turns, on the same cores as broker, database and load; by wall and by receivers' CPU."""
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(rounds):
        for receivers, done in runs.items():
            done.append(whole(server, receivers, batches))
    for done in runs.values():
        for figure in done:
            print(json.dumps(figure), flush=True)
    wall = [median(figure["value"] for figure in done) for done in runs.values()]
    spent = [
        median(figure["ms_cpu_a_batch"]["receivers"] for figure in done) for done in runs.values()
    ]
    ratios = {
        "by wall, with broker, database and load on the same cores": (wall[1] / wall[0], wall),
        "by CPU, twice a batch's cost to one over its cost to two": (
            2 * spent[0] / spent[1],
            spent,
        ),
    }
    for how, (ratio, medians) in ratios.items():
        line: dict[str, Any] = {"bench": "hub", "what": f"P13 two receivers {how}"}
        line |= {"value": round(ratio, 2), "unit": "x", "goal": 1.7}
        print(json.dumps({**line, "medians": medians, "rounds": rounds}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["receiver"]:
        receive(Path(sys.argv[2]), int(sys.argv[3]))
        sys.exit()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 640))
