"""Alerts in direct mode: the same entities go to a context broker, by a writer of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fakes.deliveries import READINGS
from fakes.stub_broker import BROKERS, Habits, StubBroker
from fakes.virtual_clock import VirtualClock, run
from lamppost.alerting import AlertOutbox, Wording, pack_alert, seal_alerts
from lamppost.live import pack_live
from lamppost.model import Alert, Batch, Instant, Reading, Sample
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from lamppost.uplink.direct import Direct
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


METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"
VOLTAGE = "https://smartdatamodels.org/dataModel.Energy/phaseVoltage"
SITE = SitePlan(
    "gw-1", devices=(DevicePlan("dev", "meter", points=(("voltage.l1", "V", "gauge"),)),)
)


@pytest.mark.parametrize("habits", BROKERS, ids=lambda habits: habits.name)
def test_live_values_show_while_older_windows_are_written_and_after_a_restart(
    tmp_path: Path, habits: Habits
) -> None:
    """Two writers with a journal each: neither makes the state older, and each knows the other's after a kill."""
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    timeline.learn(Hands(boottime=0, utc_ns=1_800_000_000 * S, in_sync=True))
    ring = Ring.open(tmp_path / "ring-alerts", 1 << 20)

    def show(at: int, value: float) -> None:
        newest = Sample("dev", Instant("boot-1", at * S), (Reading("voltage.l1", value),))
        ring.append([Record(1, record) for record in pack_live([newest])])
        assert seal_alerts(ring, None, Wording(SITE), timeline, at_most=8) == 1

    async def main(clock: VirtualClock) -> World:
        world = World(tmp_path, StubBroker(habits), clock)
        (tmp_path / "alerts").mkdir()

        async def both() -> Direct:
            world.start()
            outbox = AlertOutbox(Held(ring))  # type: ignore[arg-type]
            ahead = Direct(world.settings, "gw-1", outbox, clock, tmp_path / "alerts",
                           connect=world._connect, beside=world.direct)  # fmt: skip
            task = asyncio.create_task(ahead.run())
            for seq in range(world.ring.last // READINGS + 1, world.ring.last // READINGS + 4):
                show(seq, 60.0 + seq)
                ahead.notify()
                await world.until(lambda: not ring.held())
                assert world.stub.value(METER, VOLTAGE) == {"L1": 60.0 + seq}
                world.hold(seq)
                await world.settled()
                assert world.stub.value(METER, VOLTAGE) == {"L1": 60.0 + seq}
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await world.kill()
            return ahead

        assert (await both()).status().letters == 0
        await both()
        return world

    world = run(main)
    assert world.readings() == 6 * READINGS
    assert world.stub.repeated() == 0
    ring.close()
