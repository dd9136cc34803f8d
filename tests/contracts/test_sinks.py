"""What every sink keeps: a delivery once, whole, durable, whatever is repeated, interrupted or opened again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import orjson
import psycopg
import pytest

from fakes.deliveries import READINGS, delivery, gap
from fakes.postgres import Postgres
from fakes.stub_broker import BROKERS, STELLIO, Habits, StubBroker
from lamppost.errors import HubError, SiteError
from lamppost_hub.delivery import COUNT, GAP, Delivery, readings_in
from lamppost_hub.postgres import PostgresDatabase
from lamppost_hub.sinks import Sink, open_sink
from lamppost_hub.sinks.embedded import EmbeddedSink
from lamppost_hub.sinks.jsonl import JsonlSink
from lamppost_hub.sinks.ngsi_ld import NgsiLdSink, Settings
from lamppost_hub.sinks.postgres import PostgresSink
from lamppost_hub.sinks.store import EmbeddedStore

ENERGY = "https://smartdatamodels.org/dataModel.Energy/"
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"


class Place:
    """A sink's outside: how it is opened again, and how many readings can be seen there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> Sink:
        raise NotImplementedError

    def readings(self) -> int:
        """All that can be read back, repeated writes counted again."""
        raise NotImplementedError

    def voltage(self) -> Any:
        """The newest voltage that a reader finds."""
        raise NotImplementedError


class EmbeddedPlace(Place):
    def open(self) -> Sink:
        return EmbeddedSink.open(self.folder / "sink.sqlite")

    def readings(self) -> int:
        with EmbeddedStore.open(self.folder / "sink.sqlite") as store:
            return store.readings()

    def voltage(self) -> Any:
        with EmbeddedStore.open(self.folder / "sink.sqlite") as store:
            meter = store.entity(METER)
            assert meter is not None
            return meter[ENERGY + "phaseVoltage"]["value"]["L1"]


class JsonlPlace(Place):
    def open(self) -> Sink:
        return JsonlSink.open(self.folder / "out" / "deliveries.jsonl")

    def _lines(self) -> list[Any]:
        text = (self.folder / "out" / "deliveries.jsonl").read_bytes()
        return [orjson.loads(line) for line in text.splitlines()]

    def readings(self) -> int:
        return sum(readings_in(line["entities"]) for line in self._lines())

    def voltage(self) -> Any:
        entities = [e for line in self._lines() for e in line["entities"] if e["id"] == METER]
        newest = max(entities, key=lambda e: e[ENERGY + "phaseVoltage"]["observedAt"])
        return newest[ENERGY + "phaseVoltage"]["value"]["L1"]


class PostgresPlace(Place):
    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder)
        self.address = address

    def open(self) -> Sink:
        return PostgresSink.open(self.address)

    def _ask(self, sql: LiteralString) -> Any:
        with psycopg.connect(self.address) as connection:
            (found,) = connection.execute(sql).fetchone() or (None,)
        return found

    def readings(self) -> int:
        return int(self._ask("SELECT coalesce(sum(readings), 0) FROM lamppost.measurements"))

    def voltage(self) -> Any:
        return self._ask(
            "SELECT value FROM lamppost.newest WHERE entity LIKE '%ThreePhaseAcMeasurement%'"
            " AND quantity = 'phaseVoltage' AND member = 'L1'"
        )


class BrokerPlace(Place):
    def __init__(self, folder: Path, habits: Habits, address: str = "") -> None:
        super().__init__(folder)
        self.stub = StubBroker(habits)
        self.address = address

    def open(self) -> Sink:
        async def sleep(_: float) -> None:
            return None

        return NgsiLdSink.open(
            Settings("http://broker.test"),
            self.folder,
            monotonic=lambda: 0.0,
            sleep=sleep,
            transport=self.stub.client()._transport,
            shared=partial(PostgresDatabase, self.address) if self.address else None,
        )

    def readings(self) -> int:
        history = self.stub.store().history
        return sum(
            readings_in([{"id": i, "type": "t", name: instance}])
            for i, attributes in history.items()
            for name, instances in attributes.items()
            for instance in instances
        )

    def voltage(self) -> Any:
        return self.stub.value(METER, ENERGY + "phaseVoltage")["L1"]


PLACES: list[Callable[[Path], Place]] = [
    EmbeddedPlace,
    JsonlPlace,
    *(lambda folder, habits=habits: BrokerPlace(folder, habits) for habits in BROKERS),
]


@pytest.fixture(
    params=[*PLACES, "postgres", "shared"],
    ids=["embedded", "jsonl", *(h.name for h in BROKERS), "postgres", "shared memory"],
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param in ("postgres", "shared"):
        server: Postgres = request.getfixturevalue("postgres")
        if request.param == "postgres":
            return PostgresPlace(tmp_path, server.emptied())
        return BrokerPlace(tmp_path, STELLIO, server.emptied())
    made: Place = request.param(tmp_path)
    return made


@pytest.fixture
async def sink(place: Place) -> AsyncIterator[Sink]:
    opened = place.open()
    yield opened
    await opened.close()


async def test_what_was_written_can_be_read(place: Place, sink: Sink) -> None:
    for seq in range(3):
        await sink.write(delivery(seq))
    assert place.readings() == 3 * READINGS
    assert place.voltage() == 232.0


async def test_the_same_delivery_again_changes_nothing(place: Place, sink: Sink) -> None:
    await sink.write(delivery(0))
    await sink.write(delivery(1))
    for _ in range(2):
        await sink.write(delivery(0))
        await sink.write(delivery(1))
    assert place.readings() == 2 * READINGS
    assert place.voltage() == 231.0


async def test_opened_again_it_knows_what_it_has(place: Place) -> None:
    for _ in range(3):
        sink = place.open()
        await sink.write(delivery(0))
        await sink.write(delivery(1))
        await sink.close()
    assert place.readings() == 2 * READINGS


async def test_another_gateway_another_epoch_and_another_seq_are_other_deliveries(
    place: Place, sink: Sink
) -> None:
    await sink.write(delivery(0))
    await sink.write(delivery(0, gateway="gw-2"))
    later = delivery(5)
    await sink.write(replace(later, epoch="e2", seq=0))
    assert place.readings() == 3 * READINGS


async def test_several_gateways_at_a_time(place: Place, sink: Sink) -> None:
    async def lane(gateway: str) -> None:
        for seq in range(4):
            await sink.write(delivery(seq, gateway=gateway))

    await asyncio.gather(*(lane(f"gw-{n}") for n in range(1, 6)))
    assert place.readings() == 20 * READINGS


async def test_a_late_delivery_leaves_the_newest_in_place(place: Place, sink: Sink) -> None:
    await sink.write(delivery(7))
    await sink.write(delivery(2))
    assert place.voltage() == 237.0
    assert place.readings() == 2 * READINGS


async def test_a_backlog_in_one_delivery(place: Place, sink: Sink) -> None:
    minutes = [delivery(seq) for seq in range(10)]
    entities = [entity for minute in minutes for entity in minute.entities]
    whole = Delivery("gw-1", "e1", 0, 0, 10 * READINGS - 1, 0, entities)
    assert whole.readings == 10 * READINGS
    await sink.write(whole)
    assert place.readings() == 10 * READINGS
    assert place.voltage() == 239.0


async def test_gaps_and_an_empty_delivery_are_taken(place: Place, sink: Sink) -> None:
    await sink.write(delivery(0, gaps=(gap(5, 9),)))
    await sink.write(Delivery("gw-1", "e1", 1, READINGS, READINGS, 0, []))
    assert place.readings() == READINGS


async def test_a_caller_that_gives_up_leaves_a_whole_delivery_or_none(place: Place) -> None:
    sink = place.open()
    for steps in range(12):
        task = asyncio.ensure_future(sink.write(delivery(0)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await sink.write(delivery(0))
    await sink.close()
    assert place.readings() == READINGS


def _prop(value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value, **more}


NOW = "2026-01-01T00:00:00Z"
MALFORMED: list[Any] = [
    "text",
    {},
    {"id": "urn:x"},
    {"id": 5, "type": "urn:t"},
    {"id": "urn:x", "type": ["urn:t"]},
    {"id": "urn:x", "type": "urn:t", "urn:a": "text"},
    {"id": "urn:x", "type": "urn:t", "urn:a": [5]},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt="yesterday")},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt="2026-01-01")},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt=5)},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, datasetId=5)},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, **{COUNT: _prop(1)})},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt=NOW, **{COUNT: 5})},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt=NOW, **{COUNT: _prop(-1)})},
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt=NOW, **{COUNT: _prop(True)})},
    {
        "id": "urn:x",
        "type": "urn:t",
        "urn:a": _prop(1, observedAt=NOW, **{COUNT: _prop({"L1": 1.5})}),
    },
    {"id": "urn:x", "type": "urn:t", "urn:a": _prop(1, observedAt=NOW, **{COUNT: _prop(2**63)})},
    {"id": "urn:x", "type": "urn:t", GAP: _prop({"first": 5, "last": 4, "why": ""})},
    {"id": "urn:x", "type": "urn:t", GAP: _prop({"first": 5})},
    {"id": "urn:x", "type": "urn:t", GAP: _prop(5)},
]


async def test_a_malformed_payload_is_a_dead_letter_and_leaves_nothing(
    place: Place, sink: Sink
) -> None:
    await sink.write(delivery(0))
    for number, entity in enumerate(MALFORMED):
        batch = delivery(1)
        batch.entities.append(entity)
        with pytest.raises(HubError) as refused:
            await sink.write(batch)
        assert (refused.value.code, refused.value.retry) == ("sink.payload", False), number
    assert place.readings() == READINGS
    await sink.write(delivery(1))
    assert place.readings() == 2 * READINGS


def _open(setting: str, folder: Path) -> Sink:
    return open_sink(setting, folder, monotonic=lambda: 0.0, sleep=asyncio.sleep)


async def test_settings(tmp_path: Path) -> None:
    for setting, kind in (
        ("embedded", EmbeddedSink),
        ("jsonl:out/all.jsonl", JsonlSink),
        ("ngsi-ld:https://broker.example:1026?tenant=city&history=latest", NgsiLdSink),
        ("postgres:postgresql://grafana@db.example/city", PostgresSink),
    ):
        sink = _open(setting, tmp_path)
        assert isinstance(sink, kind)
        await sink.close()
    assert (tmp_path / "out" / "all.jsonl").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "jsonl",
        "jsonl:",
        "embedded:x",
        "postgres:x",
        "postgres:postgresql://me:secret@db.example/city",
        "postgres:postgresql://db.example/city?pasword_file=x",
        "ngsi-ld:",
        "ngsi-ld:ftp://x",
        "ngsi-ld:https://x?histroy=latest",
        "ngsi-ld:https://x?history=never",
        "ngsi-ld:https://x?url=y",
        "ngsi-ld:https://x?ca=nowhere.pem",
        "ngsi-ld:https://x?token_url=https://idm&client=me&secret_file=nowhere",
    ],
)
def test_a_setting_that_cannot_be(setting: str, tmp_path: Path) -> None:
    with pytest.raises(SiteError) as refused:
        _open(setting, tmp_path)
    assert refused.value.code == "sink.setting"
