"""P13: what a hub does with a batch of 2,000 readings (verify, open, book, receipt, decode, a sink that does nothing).

One JSON line a figure: batches a second and core over SQLite and PostgreSQL, by CPU time of the receiving process, then
wall-clock batches a second of one and of two receivers with a real broker and PostgreSQL, and whose CPU that was.

python bench/hub.py [batches]
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import psycopg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.fast_gateway import FastGateway  # noqa: E402
from fakes.hub_stage import Stage  # noqa: E402
from fakes.postgres import Postgres  # noqa: E402
from lamppost.envelope.seal import open_message  # noqa: E402
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
ENTITY = "https://smartdatamodels.org/dataModel.Energy/ThreePhaseAcMeasurement"
GROUP = 64


class NullSink:
    """Takes everything, keeps nothing."""

    async def write(self, delivery: Delivery) -> None:
        assert delivery.entities

    async def close(self) -> None:
        return None


def payload(number: int) -> bytes:
    """100 meters with 20 values each, every one a reading of its own: the raw form, some 300 bytes a reading."""
    chance = random.Random(number % 8)
    entities: list[dict[str, Any]] = []
    for meter in range(100):
        entity: dict[str, Any] = {
            "id": f"urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:meter-{meter:03}",
            "type": ENTITY,
        }
        for point in range(20):
            entity[f"https://smartdatamodels.org/dataModel.Energy/quantity{point:02}"] = {
                "type": "Property",
                "value": round(chance.gauss(2300, 400), 3),
                "unitCode": "WTT",
                "observedAt": f"2026-01-01T{number // 60 % 24:02}:{number % 60:02}:00.25Z",
                "urn:lamppost:count": {"type": "Property", "value": 1},
                "urn:lamppost:quality": {"type": "Property", "value": "good"},
            }
        entities.append(entity)
    return json.dumps(entities, separators=(",", ":")).encode()


def sealed(gateways: Sequence[SealingGateway], batches: int) -> list[Incoming]:
    """The batches as they come from the broker, the gateways in turn."""
    contents = [payload(number) for number in range(8)]
    return [
        gateways[number % len(gateways)].next(READINGS, content=contents[number % 8])
        for number in range(batches)
    ]


async def drained(world: HubWorld, name: str) -> None:
    """Everything booked goes to a null sink."""
    thread = DatabaseThread()
    archive = Archive(HUB, Registry(world.database).signer_of, world.intake.recent)
    queue = Queue(world.database)
    forwarder = Forwarder(name, NullSink(), queue, archive, thread, SystemClock())
    while await forwarder.round():
        pass
    thread.close()


def one_core(world: HubWorld, store: str, batches: int) -> dict[str, Any]:
    """CPU time of this process for all that a receiver does."""
    gateways = [world.enrol(f"gw-{number}") for number in range(16)]
    messages = sealed(gateways, batches)
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
        asyncio.run(
            drained(world, "null")
        )  # as the receiver does: what is booked is forwarded next
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    return {
        "bench": "hub",
        "what": f"P13 {store}",
        "value": round(batches / cpu),
        "unit": "batches/s a core",
        "readings_per_second": round(batches * READINGS / cpu),
        "booking_alone": round(batches / booked),
        "wall": round(batches / wall),
        "batches": batches,
        "json": len(payload(0)),
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
                [sys.executable, __file__, "receiver", str(stage.hub), str(number + 1)],
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
        postgres = cpu_of(below(server.pid))
        began = time.perf_counter()
        for gateway in gateways:
            gateway.start()
        with psycopg.connect(address, autocommit=True) as connection:
            while connection.execute(DELIVERED).fetchone() != (batches,):
                time.sleep(0.05)
            wall = time.perf_counter() - began
            cpu = {name: cpu_of(found) - before[name] for name, found in pids.items()}
            cpu["postgresql"] = cpu_of(below(server.pid)) - postgres
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
        "ms_cpu_a_batch": {name: round(1000 * spent / batches, 2) for name, spent in cpu.items()},
        "sent": sum(gateway.sent for gateway in gateways),
        "batches": batches,
        "cores": len(os.sched_getaffinity(0)),
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
        for store, address in (("SQLite", ""), ("PostgreSQL", server.emptied())):
            with tempfile.TemporaryDirectory() as folder:
                world = HubWorld.make(Path(folder), address)
                figure = one_core(world, store, batches)
                world.database.close()
            figure["ratio"] = round(figure["value"] / limit, 2)
            figure["against"] = f"verify and decode alone, {limit:.0f}/s here"
            print(json.dumps(figure), flush=True)
        one, two = (whole(server, receivers, batches // 16 * 16) for receivers in (1, 2))
        two["ratio"] = round(two["value"] / one["value"], 2)
        two["against"] = "one receiver, with broker, database and load on the same cores"
        spent = [figure["ms_cpu_a_batch"]["receivers"] for figure in (one, two)]
        two["ratio_with_cores"] = round(
            2 * spent[0] / spent[1], 2
        )  # by what a batch costs a receiver
        for figure in (one, two):
            print(json.dumps(figure), flush=True)
    finally:
        server.remove()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["receiver"]:
        receive(Path(sys.argv[2]), int(sys.argv[3]))
        sys.exit()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 640))
