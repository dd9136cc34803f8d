"""Aggregates as datasetId instances: the same facts, each at its place, written once, older never over newer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes.stub_broker import BROKERS, Fault, Habits, StubBroker
from fakes.windows import MINUTE, START, counter, gauge, plan, silent
from lamppost.model import Window
from lamppost.ngsild.broker import Api, Broker, RememberedWrites
from lamppost.ngsild.entities import Entity, entities_of
from lamppost_hub.delivery import Delivery, check, measured, readings_in

ENERGY = "https://smartdatamodels.org/dataModel.Energy/"
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"
SITE = replace(
    plan(("voltage.l1", "V"), ("frequency", "Hz"), ("energy.import", "kWh"), ("current.l1", "A")),
    datasets=True,
)
ASIDE = {"urn:lamppost:min", "urn:lamppost:max", "urn:lamppost:last", "urn:lamppost:count"}


def windows(minute: int = 0) -> list[Window]:
    start = START + minute * MINUTE
    return [
        gauge("voltage.l1", 230.0 + minute, start=start),
        gauge("frequency", 50.0 + minute, start=start),
        counter("energy.import", 100.0 + minute, 1.0, start=start),
        silent("current.l1", start=start),
    ]


def by_dataset(entity: Entity, name: str) -> dict[str, dict[str, Any]]:
    return {instance.get("datasetId", ""): instance for instance in entity[name]}


def test_each_aggregate_is_an_instance_with_unit_and_time() -> None:
    (entity,) = entities_of(windows(), SITE)
    frequency = by_dataset(entity, ENERGY + "frequency")
    assert set(frequency) == {"", *ASIDE}
    values = {dataset: instance["value"] for dataset, instance in frequency.items()}
    assert values == {
        "": 50.0,
        "urn:lamppost:min": 49.0,
        "urn:lamppost:max": 51.0,
        "urn:lamppost:last": 50.0,
        "urn:lamppost:count": 60,
    }
    assert {i["observedAt"] for i in frequency.values()} == {"2025-11-24T16:00:59Z"}
    units = {dataset: instance.get("unitCode") for dataset, instance in frequency.items()}
    assert units == {"": "HTZ"} | dict.fromkeys(ASIDE, "HTZ") | {"urn:lamppost:count": None}
    assert "urn:lamppost:min" not in frequency[""]
    assert frequency[""]["urn:lamppost:quality"]["value"] == "good"


def test_phases_and_counters_follow_the_same_rule() -> None:
    (entity,) = entities_of(windows(), SITE)
    assert by_dataset(entity, ENERGY + "phaseVoltage")["urn:lamppost:max"]["value"] == {"L1": 231.0}
    energy = by_dataset(entity, ENERGY + "totalActiveEnergyImport")
    assert energy["urn:lamppost:delta"]["value"] == 1.0
    assert energy[""]["value"] == 100.0


def test_every_reading_is_counted_once() -> None:
    plain = entities_of(windows(), replace(SITE, datasets=False))
    spread = entities_of(windows(), SITE)
    assert readings_in(spread) == readings_in(plain) == 60 + 60 + 6 + 60
    check(Delivery("gw-1", "e1", 0, 0, 185, START, spread))
    aside = [i for i in measured(spread) if i.dataset]
    assert {i.count for i in aside} == {0}
    assert (
        len(aside) == 4 + 4 + 3
    )  # voltage, frequency; the counter has no range; the silent one has nothing


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
async def test_a_broker_gets_each_instance_once_and_keeps_the_newest_of_each(
    habits: Habits,
) -> None:
    async def no_wait(_: float) -> None:
        return None

    stub = StubBroker(habits)
    broker = Broker(Api(stub.client(), sleep=no_wait), RememberedWrites())
    await broker.write(entities_of(windows(5), SITE), "live")
    stub.faults = [Fault(504, applied=True), Fault(0)]
    backlog = [e for minute in range(5) for e in entities_of(windows(minute), SITE)]
    await broker.write(backlog, "late")
    current = stub.store().current[METER][ENERGY + "frequency"]
    assert {dataset: i["value"] for dataset, i in current.items()} == {
        "": 55.0,
        "urn:lamppost:min": 54.0,
        "urn:lamppost:max": 56.0,
        "urn:lamppost:last": 55.0,
        "urn:lamppost:count": 60,
    }
    assert len(stub.moments(METER, ENERGY + "frequency")) == 6 * 5
    assert stub.repeated() == 0
