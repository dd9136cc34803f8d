"""The embedded store: questions, current state, duplicates made visible, readers beside the writer."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from fakes.deliveries import READINGS, delivery, gap
from lamppost.errors import HubError, StoreError
from lamppost.ngsild import vocabulary
from lamppost.ngsild.reduced import reduced_entities
from lamppost_hub import delivery as hub_delivery
from lamppost_hub.sinks.embedded import EmbeddedSink, merged
from lamppost_hub.sinks.store import Delivered, EmbeddedStore

ENERGY = "https://smartdatamodels.org/dataModel.Energy/"
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"


async def test_questions_while_the_sink_is_open(tmp_path: Path) -> None:
    path = tmp_path / "sink.sqlite"
    sink = EmbeddedSink.open(path)
    with EmbeddedStore.open(path) as store:
        assert (store.readings(), store.delivered()) == (0, [])
        for seq in range(3):
            await sink.write(delivery(seq, gaps=(gap(seq, seq),)))
            await sink.write(delivery(seq, gateway="gw-2"))
            assert store.readings() == 2 * (seq + 1) * READINGS
        assert store.readings("gw-2") == 3 * READINGS
        assert store.duplicates() == 0
        total = Delivered("gw-1", "e1", 3, 3 * READINGS, 3 * READINGS, 0, 3 * READINGS - 1)
        assert store.delivered("gw-1") == [total]
        assert store.spans("gw-1", "e1")[1] == (READINGS, 2 * READINGS - 1)
        assert store.gaps("gw-1", "e1") == [(n, n, "evicted") for n in range(3)]
        meters = store.entities(ENERGY + "ThreePhaseAcMeasurement")
        assert [m["id"] for m in meters] == [METER, METER.replace("gw-1", "gw-2")]
        assert len(store.entities(gateway="gw-2")) == 2
        history = store.history(METER, ENERGY + "totalActiveEnergyImport", limit=2)
        assert [instance["value"] for _, instance in history] == [101.0, 102.0]
        assert store.entity("urn:nothing") is None
    await sink.close()


async def test_readings_left_as_long_windows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "sink.sqlite"
    sink = EmbeddedSink.open(path)
    for seq, gateway in enumerate(("gw-1", "gw-1", "gw-2")):
        found = delivery(seq, gateway=gateway)
        first, last = found.span_first, found.span_last
        mark = reduced_entities(gateway, "e1", [(first, last, READINGS, 900 * 10**9)])
        await sink.write(dataclasses.replace(found, content=found.entities + mark))
    await sink.close()
    with EmbeddedStore.open(path) as store:
        assert (store.reduced(), store.reduced("gw-2")) == (3 * READINGS, READINGS)
        assert store.readings() == 3 * READINGS


async def test_a_repeated_instance_in_another_delivery_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "sink.sqlite"
    sink = EmbeddedSink.open(path)
    await sink.write(delivery(0))
    await sink.write(dataclasses.replace(delivery(0), seq=1))  # a bug somewhere
    await sink.close()
    with EmbeddedStore.open(path) as store:
        assert store.duplicates() == store.duplicates("gw-1") == 4
        assert store.readings() == 2 * READINGS


async def test_a_delivery_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sink.sqlite"
    sink = EmbeddedSink.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON entities BEGIN SELECT RAISE(ABORT, 'no space'); END"
    )
    with pytest.raises(HubError) as refused:
        await sink.write(delivery(0))
    assert (refused.value.code, refused.value.retry) == ("sink.disk", True)
    with EmbeddedStore.open(path) as store:
        assert (store.readings(), store.delivered(), store.entities()) == (0, [], [])
    other.execute("DROP TRIGGER full")
    other.close()
    await sink.write(delivery(0))
    await sink.close()
    with EmbeddedStore.open(path) as store:
        assert (store.readings(), store.duplicates()) == (READINGS, 0)


def test_no_store_is_an_error_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        EmbeddedStore.open(tmp_path / "sink.sqlite")
    assert refused.value.code == "sink.disk"
    assert list(tmp_path.iterdir()) == []


def test_merging_keeps_the_newer_of_each_dataset() -> None:
    def at(second: int, **more: object) -> dict[str, object]:
        return {
            "type": "Property",
            "value": second,
            "observedAt": f"2026-01-01T00:00:0{second}Z",
        } | more

    head = {"id": "urn:e", "type": "urn:t"}
    current = {**head, "a": at(5), "b": at(1), "fixed": {"type": "Property", "value": 1}}
    update = {
        **head,
        "a": at(4),
        "b": at(2, datasetId="urn:d"),
        "fixed": {"type": "Property", "value": 2},
    }
    assert merged(current, update) == {
        **head,
        "a": at(5),
        "b": [at(1), at(2, datasetId="urn:d")],
        "fixed": {"type": "Property", "value": 2},
    }
    assert merged({}, update) == update


def test_the_hub_counts_by_the_gateways_vocabulary() -> None:
    assert hub_delivery.COUNT == vocabulary.COUNT
    assert hub_delivery.GAP == vocabulary.GAP
