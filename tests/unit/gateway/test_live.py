"""Live values: what is newest, when it is due, what of it leaves, and that nothing else waits for it."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from fakes.level_probe import ABOUT, POINTS
from lamppost.alerting import AlertOutbox, Wording, seal_alerts
from lamppost.live import (
    MARK,
    RECORD_BYTES,
    LiveValues,
    Newest,
    behind,
    is_live,
    pack_live,
    samples_of,
    width_of,
    windows_of,
)
from lamppost.model import Instant, Quality, Reading, Sample, Severity
from lamppost.ngsild.momentary import live_entities
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.ring.offloop import OffLoop
from lamppost.timeline import Timeline
from lamppost.uplink import Thrift
from unit.gateway.test_alerting import FLOOD, World, build
from unit.gateway.test_outbound import Post
from unit.gateway.test_timeline import Hands

S = 10**9
BEGIN = 1_800_000_000 * S
BAD = Quality(Severity.BAD, "no_response")
PHASES = tuple((f"voltage.l{n}", "V", "gauge") for n in (1, 2, 3))
PLAN = SitePlan(
    "gw-1",
    (13.4, 52.5),
    devices=(
        DevicePlan(
            "meter",
            "sdm630",
            points=(*PHASES, ("frequency", "Hz", "gauge"), ("energy.import", "kWh", "counter")),
        ),
        DevicePlan(
            "roof", "rain", points=(("rain", "mm", "counter"), ("temperature", "°C", "gauge"))
        ),
        DevicePlan("well", "probe", points=(("level", "m", "gauge"),)),
    ),
)


def at(second: float, boot: str = "boot-1") -> Instant:
    return Instant(boot, round(second * S))


def sample(second: float, device: str = "meter", **values: float) -> Sample:
    return Sample(
        device, at(second), tuple(Reading(n.replace("__", "."), v) for n, v in values.items())
    )


def timeline(folder: Path) -> Timeline:
    made = Timeline(folder / "boots.json", send_unsynced=False)
    made.learn(Hands(boottime=0, utc_ns=BEGIN, in_sync=True))
    return made


# -- what is newest ----------------------------------------------------------------------------------


def test_the_newest_reading_of_every_point_once() -> None:
    newest = Newest(hidden=["flat"])
    newest.note(sample(1, frequency=50.0, voltage__l1=230.0))
    newest.note(sample(2, frequency=50.1))
    newest.note(sample(1.5, frequency=49.0))  # came late
    newest.note(sample(2, "flat", power=5.0))
    found = {s.at.ns // S: {r.point: r.value for r in s.readings} for s in newest.take(60 * S)}
    assert found == {2: {"frequency": 50.1}, 1: {"voltage.l1": 230.0}}
    assert newest.take(60 * S) == []
    newest.note(sample(70, frequency=50.2))
    (again,) = newest.take(60 * S)  # voltage.l1 is read no more
    assert [r.point for r in again.readings] == ["frequency"]


def test_after_a_restart_of_the_clock_the_new_boot_counts() -> None:
    newest = Newest()
    newest.note(Sample("meter", at(900, "old"), (Reading("frequency", 1.0),)))
    newest.note(Sample("meter", at(5, "new"), (Reading("frequency", 2.0),)))
    (found,) = newest.take(60 * S)
    assert (found.at.boot, found.readings[0].value) == ("new", 2.0)


def test_records_are_small_and_give_back_what_they_took() -> None:
    samples = [
        Sample(f"meter-{n}", at(1), tuple(Reading(f"point.{p}", p / 3) for p in range(40)))
        for n in range(40)
    ]
    records = list(pack_live(samples))
    assert len(records) > 1
    assert all(is_live(r) and len(r) < RECORD_BYTES + 100 for r in records)
    assert [s for r in records for s in samples_of(r)] == samples
    assert not is_live(b'{"rule":"flood"}')
    with pytest.raises(ValueError, match="not live"):
        samples_of(records[0][:-3])


# -- when it is due ----------------------------------------------------------------------------------


def test_behind_is_more_than_one_closed_window(tmp_path: Path) -> None:
    ring, line = Ring.open(tmp_path / "ring", 1 << 20), timeline(tmp_path)

    def late(second: float) -> bool:
        return behind(ring, line, at(second), 60 * S, 2 * S)

    assert not late(1000)
    ring.append([Record(1, pack(sample(59.9, frequency=50.0)))])
    assert not late(121.9)  # the window until 60 is the newest closed one
    assert late(122.0)
    assert not behind(ring, line, at(500, "another boot"), 60 * S, 2 * S)
    ring.close()


@dataclass
class Way:
    """Where live values go."""

    sent: list[Sequence[bytes]] = field(default_factory=list)
    carries_live: bool = False

    async def carry(self, records: Sequence[bytes]) -> None:
        self.sent.append(records)


async def test_once_a_window_while_behind_and_one_lot_at_a_time(tmp_path: Path) -> None:
    line, clock, way = timeline(tmp_path), Hands(boottime=0, utc_ns=BEGIN, in_sync=True), Way()
    off = OffLoop(Ring.open(tmp_path / "ring", 1 << 20))
    await off.append([Record(1, pack(sample(1, frequency=50.0)))])
    width: list[int | None] = [60 * S]
    live = LiveValues(off, way, line, clock, grace=2, hidden=(), width=lambda: width[0])

    async def look(second: float) -> int:
        clock.boottime = round(second * S)
        live.note(sample(second, frequency=50.0))
        await live.look()
        return len(way.sent)

    assert await look(100) == 0  # the chain is not behind
    assert await look(130) == 0  # looked at not a window ago
    assert await look(160) == 1
    assert await look(190) == 1
    way.carries_live = True
    assert await look(230) == 1
    way.carries_live = False
    width[0] = None
    assert await look(240) == 1
    width[0] = 900 * S
    assert await look(250) == 1  # behind by less than one of the long windows
    width[0] = 60 * S
    assert await look(1200) == 2
    await off.close()


def test_live_values_give_way_to_the_months_bytes() -> None:
    assert width_of(60.0, Thrift.FULL) == 60 * S
    assert width_of(1.0, Thrift.FULL) == 10 * S  # a reconnection is no backlog
    assert width_of(60.0, Thrift.LONGER_WINDOWS) == 900 * S
    assert width_of(3600.0, Thrift.LONGER_WINDOWS) == 3600 * S
    assert width_of(60.0, Thrift.ALERTS_ONLY) is None


# -- what of it leaves -------------------------------------------------------------------------------


def entities(samples: Sequence[Sample], folder: Path) -> dict[str, dict[str, Any]]:
    found = live_entities(windows_of(samples, timeline(folder)), PLAN, "alert-e", (7, 7))
    return {e["id"]: e for e in found}


def test_live_entities_are_windows_without_anything_that_counts(tmp_path: Path) -> None:
    readings = (Reading("voltage.l1", 230.0), Reading("voltage.l2", 231.0, Quality(Severity.UNCERTAIN, "out_of_range")),
                Reading("frequency", None, BAD), Reading("energy.import", 17.5))  # fmt: skip
    found = entities([Sample("meter", at(12.25), readings)], tmp_path)
    energy = "https://smartdatamodels.org/dataModel.Energy/"
    meter = found["urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:meter"]
    assert meter[energy + "phaseVoltage"] == {
        "type": "Property",
        "value": {"L1": 230.0, "L2": 231.0},
        "unitCode": "VLT",
        "observedAt": "2027-01-15T08:00:12.25Z",
        "urn:lamppost:quality": {"type": "Property", "value": {"L1": "good", "L2": "out_of_range"}},
        "urn:lamppost:live": {"type": "Property", "value": True},
    }
    assert meter["urn:lamppost:quality:frequency"] == {
        "type": "Property",
        "value": "no_response",
        "observedAt": "2027-01-15T08:00:12.25Z",
        "urn:lamppost:live": {"type": "Property", "value": True},
    }
    assert meter[energy + "totalActiveEnergyImport"]["value"] == 17.5
    text = orjson.dumps(list(found.values())).decode()
    assert not any(word in text for word in ("count", "window", "urn:lamppost:bad", "1970"))
    numbers = found["urn:ngsi-ld:Live:gw-1:alert-e"]
    assert numbers["urn:lamppost:numbers"]["value"] == {"first": 7, "last": 7}


def test_what_only_a_window_has_is_left_out(tmp_path: Path) -> None:
    readings = (Reading("rain", 3.0), Reading("temperature", float("nan")))
    found = entities([Sample("roof", at(1), readings)], tmp_path)
    text = orjson.dumps(list(found.values())).decode()
    assert "precipitation" not in text
    assert "not_available" in text
    assert "null" not in text


# -- the way of the alerts ---------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = build(tmp_path, FLOOD)
    yield made
    await made.off.close()


def carries(world: World) -> bool:
    return world.alerting.carries_live


def lot(second: float) -> list[bytes]:
    return list(pack_live([sample(second, "well", level=1.25)]))


async def test_an_envelope_of_its_own_in_the_chain_of_alerts(world: World) -> None:
    world.who, who = None, world.who  # so that all wait, and could share one
    world.level(1, 2.5)
    await world.alerting.carry(lot(2))
    world.level(3, 1.0)
    await world.alerting.carry(lot(4))
    world.who = who
    await world.alerting.flush()
    batches = AlertOutbox(world.off).held()
    opened = [world.opened(batch) for batch in batches]
    assert [(o.header.first, o.header.count) for o in opened] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    kinds = [[e["type"].rpartition("/")[2] for e in orjson.loads(o.payload)] for o in opened]
    assert [k[-1] for k in kinds] == ["Alert", "urn:lamppost:Live"] * 2
    assert [len(k) for k in kinds] == [1, 2, 1, 2]
    assert b"1.25" in opened[1].payload
    assert carries(world)
    for batch in batches:
        assert AlertOutbox(world.off).settle(batch.epoch, batch.seq)
    await world.off.call(lambda ring: None)
    assert not carries(world)


async def test_a_record_that_cannot_be_read_is_a_signed_gap_and_stops_nothing(world: World) -> None:
    for payload in (b"\x01newer", b'{"rule":"x"}', MARK + b"\xff"):
        await world.off.append([Record(1, payload)])
    world.level(1, 2.5)
    await world.alerting.flush()
    found = world.entities()
    gaps = [e["urn:lamppost:gap"]["value"] for e in found if e["type"] == "urn:lamppost:Gap"]
    assert gaps == [{"first": n, "last": n, "why": "unreadable"} for n in range(3)]
    assert [e["type"].rpartition("/")[2] for e in found].count("Alert") == 1


async def test_what_was_on_its_way_before_a_restart_comes_first(tmp_path: Path) -> None:
    world = build(tmp_path, FLOOD)
    assert not carries(world)
    await world.alerting.carry(lot(2))
    await world.off.close()
    again = build(tmp_path, FLOOD, post=world.post)
    assert carries(again)
    (batch,) = AlertOutbox(again.off).held()
    AlertOutbox(again.off).settle(batch.epoch, batch.seq)
    await again.off.call(lambda ring: None)
    assert not carries(again)
    await again.off.close()


def test_a_full_ring_gives_up_live_values_before_alerts(tmp_path: Path) -> None:
    ring, dice = Ring.open(tmp_path / "ring", 256 * 1024, segment=16 * 1024), Random(4)
    alert = b'{"rule":"flood"}'
    ring.append([Record(1, alert, urgent=True)])
    for _ in range(200):
        readings = tuple(Reading(f"p{n}", dice.random()) for n in range(400))
        ring.append([Record(1, r) for r in pack_live([Sample("meter", at(1), readings)])])
    assert ring.read(-1, 1)[0].payload == alert
    assert ring.gaps(-1)[0].span.first == 1
    ring.close()


def test_what_four_hundred_points_cost(tmp_path: Path) -> None:
    """20 meters of 20 points: what a window of a backlog costs more."""
    dice, post = Random(3), Post(tmp_path)
    devices = tuple(DevicePlan(f"meter-{n:02}", "sdm630", points=POINTS) for n in range(20))
    samples = []
    for number, device in enumerate(devices):
        readings = tuple(
            Reading(name, _float32(ABOUT.get(name.partition(".")[0], 900.0) * dice.gauss(1, 0.01)))
            for name, _, _ in POINTS
        )
        samples.append(Sample(device.name, at(number / 7), readings))
    ring = Ring.open(tmp_path / "alerts", 1 << 20)
    records = list(pack_live(samples))
    ring.append([Record(1, record) for record in records])
    wording = Wording(SitePlan("gw-1", devices=devices))
    assert seal_alerts(ring, post.identity, wording, post.timeline, at_most=64) == len(records) == 1
    (batch,) = ring.held()
    assert len(batch.message) < 8_000
    ring.close()


def _float32(value: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found
