"""Alerts in direct mode: the same entities go to a context broker, by a writer of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.stub_broker import BROKERS, Habits, StubBroker
from fakes.virtual_clock import VirtualClock, run
from lamppost.alerting import AlertOutbox, Wording, pack_alert, seal_alerts
from lamppost.model import Alert, Batch, Instant
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from unit.gateway.test_timeline import Hands
from unit.uplink.test_direct import World

S = 10**9
ALERT = "urn:ngsi-ld:Alert:gw-1:well:flood"
STATE = "urn:lamppost:alertState"
PLAN = SitePlan("gw-1", devices=(DevicePlan("well", "probe", points=(("level", "m", "gauge"),)),))


class Held:
    """What `AlertOutbox` asks of a ring, without a thread."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def held(self) -> list[Batch]:
        return self._ring.held()

    def settle(self, epoch: str, seq: int) -> bool:
        return self._ring.settle(epoch, seq)


def alert(at: int, *, raised: bool) -> Alert:
    since = Instant("boot-1", 5 * S)
    value = 2.5 if raised else 1.0
    return Alert("flood", "well", "level", Instant("boot-1", at * S), since, raised, "critical",
                 "naturalDisaster", "water comes in", value)  # fmt: skip


@pytest.mark.parametrize("habits", BROKERS, ids=lambda habits: habits.name)
def test_an_alert_and_its_end_reach_the_broker_and_settle(tmp_path: Path, habits: Habits) -> None:
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    timeline.learn(Hands(boottime=0, utc_ns=1_800_000_000 * S, in_sync=True))
    ring = Ring.open(tmp_path / "ring-alerts", 1 << 20)
    wording = Wording(PLAN, units={("well", "level"): "m"})

    def say(at: int, *, raised: bool) -> None:
        ring.append([Record(1, pack_alert(alert(at, raised=raised)), urgent=True)])
        assert seal_alerts(ring, None, wording, timeline, at_most=8) == 1

    async def main(clock: VirtualClock) -> World:
        world = World(tmp_path, StubBroker(habits), clock)
        world.ring = AlertOutbox(Held(ring))  # type: ignore[assignment, arg-type]
        world.start()
        say(5, raised=True)
        await world.settled()
        assert world.stub.store("").current[ALERT][STATE][""]["value"] == "raised"
        say(9, raised=False)
        await world.settled()
        await world.kill()
        return world

    world = run(main)
    store = world.stub.store("")
    assert store.current[ALERT][STATE][""]["value"] == "cleared"
    if habits.history_of_live:
        said = [instance["value"] for instance in store.history[ALERT][STATE]]
        assert said == ["raised", "cleared"]
    assert ring.held() == []
    assert ring.settled_through == 1
    ring.close()
