"""Bytes on the uplink a reading, sealed envelope included (P11). One JSON line a figure.

python bench/bytes.py

Samples go through the gateway's own stages: packing, ring, aggregation, NGSI-LD, zstd, signature, encryption. What is
counted is the MQTT payload; MQTT, TLS and TCP add about 60 bytes a batch. Values drift as measured ones do: each step
is a random walk with the resolution of the device. Two densities: each point once a minute (a window stands for one
reading: the dearest case) and once a second. `raw` is the same payload as plain JSON.
"""

from __future__ import annotations

import json
import platform
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from lamppost.envelope.identity import Identity
from lamppost.envelope.keys import DecryptionKey, EncryptionKey, FileSigner, PublicKey
from lamppost.envelope.seal import SignerRecord, open_message
from lamppost.model import Instant, Reading, Sample
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from lamppost.uplink.pace import MOST_READINGS

S = 10**9
BEGIN = 1_800_000_000 * S
METER = [
    *((f"voltage.l{n}", "V", "gauge", 230.0, 0.1) for n in (1, 2, 3)),
    *((f"current.l{n}", "A", "gauge", 8.0, 0.01) for n in (1, 2, 3)),
    *((f"power.l{n}", "W", "gauge", 1800.0, 0.1) for n in (1, 2, 3)),
    *((f"apparent_power.l{n}", "VA", "gauge", 1900.0, 0.1) for n in (1, 2, 3)),
    *((f"reactive_power.l{n}", "var", "gauge", 200.0, 0.1) for n in (1, 2, 3)),
    *((f"power_factor.l{n}", "/", "gauge", 0.95, 0.001) for n in (1, 2, 3)),
    ("frequency", "Hz", "gauge", 50.0, 0.01),
    ("energy.import", "kWh", "counter", 12_000.0, 0.01),
]
AIR = [("temperature", "Cel", "gauge", 14.0, 0.01)]


class Boot:
    """A clock that is in sync and stands where it is put."""

    def now(self) -> Instant:
        return Instant("boot-1", 0)

    def utc(self) -> int:
        return BEGIN

    def synced(self) -> bool:
        return True


@dataclass(frozen=True)
class Case:
    """`devices` of one kind, each read every `every` seconds; a batch covers `minutes` minute windows."""

    name: str
    devices: int
    points: Sequence[tuple[str, str, str, float, float]]
    every: int
    minutes: int
    goal: float
    datasets: bool = False


CASES = [
    Case("500 entities, minute batch, each read once a minute", 500, AIR, 60, 1, 12),
    Case("25 meters of 20 points, minute batch, each read once a minute", 25, METER, 60, 1, 12),
    Case("25 meters of 20 points, minute batch, each read once a second", 25, METER, 1, 1, 12),
    Case("100 entities, an hour as a backlog, each read once a minute", 100, AIR, 60, 60, 5),
    Case("25 meters of 20 points, an hour as a backlog, once a minute", 25, METER, 60, 60, 5),
    Case("25 meters, datasets, minute batch, each read once a minute", 25, METER, 60, 1, 12, True),
]


def walk(case: Case, chance: random.Random, minutes: int) -> Iterator[Sample]:
    """Samples in the order of time; gauges walk, counters climb."""
    stands = [[mean for *_, mean, _ in case.points] for _ in range(case.devices)]
    for second in range(0, minutes * 60, case.every):
        for number, stand in enumerate(stands):
            for index, (_, _, kind, mean, step) in enumerate(case.points):
                move = abs(chance.gauss(0, 5)) if kind == "counter" else chance.gauss(0, 5)
                pull = 0.0 if kind == "counter" else (mean - stand[index]) * 0.02
                value = stand[index] + pull + move * step
                stand[index] = round(value / step) * step
            readings = tuple(
                Reading(point[0], float(f"{value:.7g}"))
                for point, value in zip(case.points, stand, strict=True)
            )
            at = Instant("boot-1", second * S + number * 1_000_000)
            yield Sample(f"device-{number:03}", at, readings)


def sealed(case: Case, folder: Path) -> tuple[int, int, int, int]:
    """(batches, bytes of their messages, bytes of their JSON, readings) of the second and later batches."""
    gateway, hub = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signer = FileSigner(PublicKey.of(gateway.public_key()), gateway)
    key = DecryptionKey(EncryptionKey.of(hub.public_key()), hub)
    identity = Identity("gw-1", "hub.city", signer, key.public, {}, folder, folder, folder, 0, 0)
    timeline = Timeline(folder / "boots.json", send_unsynced=False)
    timeline.learn(Boot())  # type: ignore[arg-type]
    points = tuple(point[:3] for point in case.points)
    devices = tuple(DevicePlan(f"device-{n:03}", "sdm630", "Eastron SDM630-Modbus V2", points)
                    for n in range(case.devices))  # fmt: skip
    plan = SitePlan("gw-1", (13.3777, 52.5163), "Lamppost", "City", devices, "", case.datasets)
    kinds: Mapping[tuple[str, str], str] = {
        (d.name, name): kind for d in devices for name, _, kind in points
    }
    outbound = Outbound(plan, kinds, timeline, window=60.0, grace=1.0)
    outbound.pace(readings=MOST_READINGS, window=0.0)
    ring = Ring.open(folder / "ring", 256 * 1024 * 1024)
    batches, total, raw, readings = 0, 0, 0, 0
    waiting: list[Record] = []
    minute = 0
    for sample in walk(case, random.Random(7), 2 * case.minutes + 1):
        now = sample.at.ns // (60 * S)
        if now != minute and now % case.minutes == 0:
            ring.append(waiting)
            waiting, minute = [], now
            outbound.seal_due(ring, identity, Instant("boot-1", (now * 60 + 2) * S), at_most=64)
        waiting.append(Record(len(sample.readings), pack(sample)))
    record = SignerRecord("gw-1", signer.public)
    for batch in ring.held()[1:]:  # the first one has devices that nobody has seen before
        opened = open_message(batch.message, "lamppost/gw-1/up", aud="hub.city",
                              hub_keys={key.kid: key}, signer_of=lambda _: record)  # fmt: skip
        batches += 1
        total += len(batch.message)
        raw += len(opened.payload)
        readings += batch.span.count
    ring.close()
    return batches, total, raw, readings


def main() -> None:
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            batches, total, raw, readings = sealed(case, Path(name))
        line = {
            "bench": "bytes",
            "what": f"P11 {case.name}",
            "value": round(total / readings, 2),
            "unit": "bytes a reading",
            "goal": case.goal,
            "raw": round(raw / readings, 1),
            "batch": round(total / batches),
            "readings": readings // batches,
            "machine": machine,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
