"""From a sample that breaks a rule to a sealed envelope of its own: at once, durable, once, nothing private in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamppost.alerting import Alerting, AlertOutbox, Wording, judge_of, open_ring, wording_of
from lamppost.alerts import Judge, Rule, Silence, Threshold
from lamppost.config.load import site
from lamppost.envelope.compression import decompress
from lamppost.envelope.identity import Identity
from lamppost.envelope.seal import GENESIS, Opened, SignerRecord, open_message
from lamppost.errors import StoreError
from lamppost.model import Batch, Instant, Reading, Sample
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.ring.offloop import OffLoop
from lamppost.timeline import Timeline
from lamppost_drivers.library import find
from unit.gateway.test_outbound import Post
from unit.gateway.test_timeline import Hands

S = 10**9
BEGIN = 1_800_000_000 * S
PLAN = SitePlan(
    "gw-1",
    (13.4, 52.5),
    devices=(DevicePlan("well", "probe", points=(("level", "m", "gauge"),)),),
)
FLOOD = Rule("flood", "well", "level", Threshold(2.0, 1.5), "critical", text="water comes in")
QUIET = Rule("quiet", "well", "", Silence(60 * S))


@dataclass
class World:
    """Rules, the alert ring, and the hub's key to read what was sealed. `who` None: not enrolled yet."""

    folder: Path
    clock: Hands
    timeline: Timeline
    off: OffLoop
    alerting: Alerting
    post: Post
    who: Identity | None
    told: list[str]

    def level(self, at: float, value: float) -> bool:
        self.clock.boottime = round(at * S)
        return self.alerting.judge(
            Sample("well", Instant("boot-1", round(at * S)), (Reading("level", value),))
        )

    def opened(self, batch: Batch) -> Opened:
        record = SignerRecord("gw-1", self.post.identity.signer.public)
        return open_message(
            batch.message,
            "lamppost/gw-1/alert",
            aud="hub",
            hub_keys={self.post._hub.kid: self.post._hub},
            signer_of=lambda kid: record,
        )

    def entities(self) -> list[dict[str, Any]]:
        held = AlertOutbox(self.off).held()
        return [e for batch in held for e in orjson.loads(self.opened(batch).payload)]


def states(entities: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["id"].rpartition(":")[2], e["urn:lamppost:alertState"]["value"]) for e in entities]


def build(
    folder: Path,
    *rules: Rule,
    enrolled: bool = True,
    synced: bool = True,
    direct: bool = False,
    wording: Wording | None = None,
    post: Post | None = None,
) -> World:
    (folder / "post").mkdir(exist_ok=True)
    clock = Hands(boottime=0, utc_ns=BEGIN, in_sync=synced)
    timeline = Timeline(folder / "boots.json", send_unsynced=False)
    timeline.learn(clock)
    off = OffLoop(open_ring(folder))
    told: list[str] = []
    post = post or Post(folder / "post")
    world: World
    alerting = Alerting(
        Judge(rules, Instant("boot-1", 0)),
        off,
        wording or Wording(PLAN, units={("well", "level"): "m"}),
        timeline,
        clock,
        memory=folder / "alerts.json",
        identity=lambda: world.who,
        sealed=lambda: told.append("sealed"),
        direct=direct,
    )
    world = World(
        folder, clock, timeline, off, alerting, post, post.identity if enrolled else None, told
    )
    return world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = build(tmp_path, FLOOD, QUIET)
    yield made
    await made.off.close()


async def test_a_broken_rule_is_sealed_on_its_own_at_once_and_told_to_the_uplink(
    world: World,
) -> None:
    assert [world.level(n, 1.0) for n in range(3)] == [False] * 3
    await world.alerting.flush()
    assert (AlertOutbox(world.off).held(), world.told) == ([], [])
    assert world.level(3, 2.5) is True  # the sample is evidence
    await world.alerting.flush()
    (batch,) = AlertOutbox(world.off).held()
    header = world.opened(batch).header
    assert header.epoch == batch.epoch == "alert-" + world.off.stats().epoch
    assert (header.seq, header.prev, header.first, header.count) == (0, GENESIS, 0, 1)
    assert world.told == ["sealed"]
    assert len(batch.message) < 1500
    (entity,) = world.entities()
    assert entity["id"] == "urn:ngsi-ld:Alert:gw-1:well:flood"
    state = entity["urn:lamppost:alertState"]
    assert (state["value"], state["observedAt"]) == ("raised", "2027-01-15T08:00:03Z")
    assert state["urn:lamppost:value"] == {"type": "Property", "value": 2.5, "unitCode": "MTR"}
    assert state["urn:lamppost:count"]["value"] == 1
    assert entity["http://purl.org/dc/terms/description"]["value"] == "water comes in"
    assert [s.rule.name for s in world.alerting.standing()] == ["flood"]


async def test_the_end_follows_in_the_chain_and_names_beginning_and_end(world: World) -> None:
    world.level(3, 2.5)
    await world.alerting.flush()
    world.level(9, 1.0)
    await world.alerting.flush()
    first, second = AlertOutbox(world.off).held()
    header = world.opened(second).header
    assert (header.seq, header.prev, header.first) == (1, first.digest, 1)
    assert states(world.entities()) == [("flood", "raised"), ("flood", "cleared")]
    end = world.entities()[1]
    alert = "https://smartdatamodels.org/dataModel.Alert/"
    assert end[alert + "dateIssued"]["value"]["@value"] == "2027-01-15T08:00:03Z"
    assert end[alert + "validTo"]["value"]["@value"] == "2027-01-15T08:00:09Z"
    assert AlertOutbox(world.off).settle(first.epoch, 0) is True


async def test_before_enrolment_alerts_wait_durably_and_then_share_an_envelope(
    tmp_path: Path,
) -> None:
    world = build(tmp_path, FLOOD, enrolled=False)
    for at, level in enumerate((2.5, 1.0, 2.5)):
        world.level(at, level)
        await world.alerting.flush()
    assert AlertOutbox(world.off).held() == []
    await world.off.close()
    again = build(tmp_path, FLOOD, post=world.post)
    await again.alerting.flush()
    (batch,) = AlertOutbox(again.off).held()
    assert again.opened(batch).header.count == 3
    assert states(again.entities()) == [
        ("flood", "raised"),
        ("flood", "cleared"),
        ("flood", "raised"),
    ]
    await again.off.close()


async def test_a_restart_says_nothing_twice_and_ends_what_it_finds_raised(tmp_path: Path) -> None:
    world = build(tmp_path, FLOOD)
    world.level(1, 2.5)
    await world.alerting.flush()
    await world.off.close()
    again = build(tmp_path, FLOOD, post=world.post)
    assert [s.rule.name for s in again.alerting.standing()] == ["flood"]
    assert again.level(2, 2.5) is False
    assert again.level(3, 1.0) is True
    await again.alerting.flush()
    assert states(again.entities()) == [("flood", "raised"), ("flood", "cleared")]
    await again.off.close()
    world = build(tmp_path, post=world.post)  # the rule is gone and has ended: nothing more to say
    await world.alerting.flush()
    assert len(AlertOutbox(world.off).held()) == 2
    await world.off.close()


async def test_the_end_of_a_rule_that_left_the_site_is_sent(tmp_path: Path) -> None:
    world = build(tmp_path, FLOOD)
    world.level(1, 2.5)
    await world.alerting.flush()
    await world.off.close()
    again = build(tmp_path, post=world.post)
    await again.alerting.flush()
    assert states(again.entities()) == [("flood", "raised"), ("flood", "cleared")]
    state = again.entities()[1]["urn:lamppost:alertState"]
    assert state["urn:lamppost:why"]["value"] == "rule removed"
    await again.off.close()


async def test_an_alert_does_not_wait_for_a_clock(tmp_path: Path) -> None:
    world = build(tmp_path, FLOOD, synced=False)
    assert world.timeline.utc(Instant("boot-1", S)) is None  # windows would wait
    world.level(1, 2.5)
    await world.alerting.flush()
    (entity,) = world.entities()
    state = entity["urn:lamppost:alertState"]
    assert state["urn:lamppost:timeQuality"]["value"] == "unsynced"
    await world.off.close()


async def test_a_failing_disk_keeps_what_was_said_for_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise StoreError("full", code="ring.disk-full", hint="", retry=True)

    world.level(1, 2.5)
    with monkeypatch.context() as broken:
        broken.setattr(world.off, "append", refuse)
        await world.alerting.flush()
        assert world.told == []
    await world.alerting.flush()
    assert states(world.entities()) == [("flood", "raised")]


async def test_in_direct_mode_alerts_are_compressed_and_not_sealed(tmp_path: Path) -> None:
    world = build(tmp_path, FLOOD, enrolled=False, direct=True)
    world.level(1, 2.5)
    await world.alerting.flush()
    (batch,) = AlertOutbox(world.off).held()
    assert states(orjson.loads(decompress(batch.message))) == [("flood", "raised")]
    await world.off.close()


SITE = """
[site]
gateway = "gw-1"
hub = "hub.city"
place = { longitude = 13.4, latitude = 52.5 }
[uplink]
host = "hub.city"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "flat-7-miller"
model = "sdm120"
link = "rs485-1"
unit = 7
every = "10s"
personal = true
description = "third floor left"
[[alert]]
name = "miller-is-silent"
kind = "silence"
device = "flat-7-miller"
after = "1min"
description = "call Mr. Miller"
"""


async def test_nothing_private_leaves_with_the_alert_of_a_personal_device(tmp_path: Path) -> None:
    found = site(SITE.encode(), find)
    plan = replace(
        PLAN, devices=(DevicePlan("flat-7-miller", "sdm120", description="third floor left"),)
    )
    personal = Personal(names={"flat-7-miller": "p-1234"}, width=900 * S)
    wording = wording_of(found, tmp_path, plan, personal)
    world = build(tmp_path, wording=wording)
    judge = judge_of(found, Instant("boot-1", 0))
    world.alerting._judge = judge
    world.alerting._take(judge.tick(Instant("boot-1", 61 * S)))
    await world.alerting.flush()
    (entity,) = world.entities()
    text = orjson.dumps(entity).decode()
    assert entity["urn:lamppost:alertState"]["value"] == "raised"
    assert entity["id"].startswith("urn:ngsi-ld:Alert:gw-1:p-1234:p-")
    for private in ("miller", "flat", "floor", "Miller", "13.4", "location", "silent"):
        assert private not in text
    await world.off.close()
