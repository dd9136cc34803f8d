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
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.postgres import Postgres  # noqa: E402
from lamppost_hub.clock import SystemClock  # noqa: E402
from lamppost_hub.daemon import THRESHOLD  # noqa: E402
from lamppost_hub.delivery import Delivery  # noqa: E402
from lamppost_hub.forward import Archive, Forwarder  # noqa: E402
from lamppost_hub.queue import Queue  # noqa: E402
from lamppost_hub.registry import Registry  # noqa: E402
from lamppost_hub.thread import DatabaseThread  # noqa: E402
from lamppost_hub.transport import Incoming  # noqa: E402
from unit.hub.world import HUB, HubWorld, SealingGateway  # noqa: E402

READINGS = 2000
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
    archive = Archive(HUB, Registry(world.database).signer_of)
    queue = Queue(world.database)
    forwarder = Forwarder(name, NullSink(), queue, archive, thread, SystemClock())
    while await forwarder.round():
        pass
    thread.close()


def one_core(world: HubWorld, store: str, batches: int) -> dict[str, Any]:
    """CPU time of this process for all that a receiver does."""
    gateways = [world.enrol(f"gw-{number}") for number in range(16)]
    messages = sealed(gateways, batches)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLD)  # as the receiver does
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(0, batches, GROUP):
        taken = world.intake.take(messages[at : at + GROUP])
        assert len(taken.answers) == len(messages[at : at + GROUP])
    booked = time.process_time() - cpu
    asyncio.run(drained(world, "null"))
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


def main(batches: int) -> int:
    server = Postgres()
    try:
        server.start()
        for store, address in (("SQLite", ""), ("PostgreSQL", server.emptied())):
            with tempfile.TemporaryDirectory() as folder:
                world = HubWorld.make(Path(folder), address)
                print(json.dumps(one_core(world, store, batches)), flush=True)
                world.database.close()
    finally:
        server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 640))
