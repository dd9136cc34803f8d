"""A broker that is behind is shown the newest batch's values at once; its history comes in order, each window once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.stub_broker import LIVE, StubBroker
from fakes.windows import MINUTE, START, gauge, plan
from lamppost.ngsild.entities import entities_of
from lamppost_hub.ahead import BEHIND, NewestQueue, Shown, ahead_name, live_values
from lamppost_hub.forward import Archive, Forwarder
from lamppost_hub.queue import Queue
from lamppost_hub.registry import Registry
from lamppost_hub.sinks.ngsi_ld import NgsiLdSink, Settings
from lamppost_hub.thread import DatabaseThread
from unit.hub.world import HUB, HubWorld

NAME = "ngsi-ld:http://broker.test"
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"
FREQUENCY = "https://smartdatamodels.org/dataModel.Energy/frequency"


def windows(number: int, *, datasets: bool = False) -> list[dict[str, Any]]:
    start = START + number * MINUTE
    site = replace(plan(("frequency", "Hz")), datasets=datasets)
    return entities_of([gauge("frequency", float(number), start=start)], site)


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread()
    yield thread
    thread.close()


class Hub:
    """A broker's sink, and its two forwarders of readings."""

    def __init__(self, world: HubWorld, thread: DatabaseThread, folder: Path) -> None:
        self.world, self.stub = world, StubBroker()
        self.sink = NgsiLdSink.open(
            Settings("http://broker.test"),
            folder,
            monotonic=lambda: 0.0,
            sleep=world.clock.sleep,
            transport=self.stub.client()._transport,
        )
        archive = Archive(HUB, Registry(world.database).signer_of)
        around = (archive, thread, world.clock)
        self.queue = Queue(world.database)
        self.main = Forwarder(NAME, self.sink, self.queue, *around)
        newest = NewestQueue(world.database, world.clock)
        self.ahead = Forwarder(ahead_name(NAME), Shown(self.sink), newest, *around)

    @property
    def value(self) -> float:
        return float(self.stub.value(METER, FREQUENCY))

    def moments(self) -> list[str]:
        return self.stub.moments(METER, FREQUENCY)


async def test_the_newest_is_shown_while_a_backlog_waits(
    world: HubWorld, thread: DatabaseThread, tmp_path: Path
) -> None:
    gateway, hub = world.enrol(), Hub(world, thread, tmp_path)

    def book(*numbers: int) -> None:
        for number in numbers:
            message = gateway.next(content=orjson.dumps(windows(number)))
            assert world.intake.take([message]).answers

    book(0)
    await hub.main.round()
    assert hub.value == 0.0
    book(1, 2, 3)
    assert not await hub.ahead.round()  # they came just now
    world.clock.ns += round(BEHIND * 1e9) + 1
    assert await hub.ahead.round()
    assert hub.value == 3.0
    assert LIVE in hub.stub.store().current[METER][FREQUENCY][""]
    assert len(hub.moments()) == 1
    assert not await hub.ahead.round()  # it was shown
    book(4)
    assert await hub.ahead.round()
    assert hub.value == 4.0
    assert hub.queue.sinks() == [NAME]
    assert hub.queue.backlog(NAME) == 4
    while await hub.main.round():
        assert hub.value == 4.0
    assert LIVE not in hub.stub.store().current[METER][FREQUENCY][""]
    assert len(hub.moments()) == len(set(hub.moments())) == 5
    assert hub.stub.repeated() == 0
    world.clock.ns += round(BEHIND * 1e9) + 1
    assert not await hub.ahead.round()  # nothing waits
    await hub.sink.close()


@pytest.mark.parametrize("datasets", [False, True])
def test_windows_as_live_values_count_nothing(datasets: bool) -> None:
    other = {
        "id": "urn:x:1",
        "type": "urn:lamppost:Gap",
        "urn:lamppost:gap": {"type": "Property", "value": 1},
    }
    (shown,) = live_values([*windows(7, datasets=datasets), other])
    assert shown["id"] == METER
    assert shown[FREQUENCY]["value"] == 7.0
    assert shown["https://smartdatamodels.org/dataModel.Energy/refDevice"]["type"] == "Relationship"
    text = orjson.dumps(shown).decode()
    assert not any(
        f"urn:lamppost:{word}" in text for word in ("count", "window", "min", "max", "last")
    )
    timed = [a for a in shown.values() if isinstance(a, dict) and "observedAt" in a]
    assert len(timed) == 2
    assert all(LIVE in attribute for attribute in timed)
