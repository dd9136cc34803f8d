"""Not examples but all of it: each term of the mapping at its limits and past them, each model that a driver knows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from fakes.windows import START, counter, gauge, plan
from lamppost.config import schema
from lamppost.model import Window
from lamppost.ngsild.devices import Alarm, alert_entity
from lamppost.ngsild.entities import (
    DevicePlan,
    DeviceState,
    SitePlan,
    device_entities,
    entities_of,
    model_entities,
)
from lamppost.ngsild.terms import FAMILIES, Family, Term
from lamppost.ngsild.units import SYMBOLS
from lamppost_drivers.library import LIBRARY
from lamppost_hub.delivery import readings_in
from sdm_validation import expand, key_values, problems

pytestmark = pytest.mark.shared

# The models of the design (wire.md, section 4); ThreePhaseAcMeasurement also stands for single-phase meters.
MODELS = {
    "AirQualityObserved",
    "WeatherObserved",
    "NoiseLevelObserved",
    "WaterObserved",
    "WaterQualityObserved",
    "WaterConsumptionObserved",
    "SmartMeteringObservation",
    "ThreePhaseAcMeasurement",
    "PhotovoltaicMeasurement",
    "StorageBatteryMeasurement",
    "DeviceMeasurement",
}
UNITLESS = ""
# A panel's temperature below zero is forbidden by its model, and so is its absence. The broker's entity keeps the last
# one that was allowed; the frost itself goes out as a DeviceMeasurement.
FROST = [": 'temperature' is a required property"]


def symbols_of(term: Term) -> list[str]:
    """A driver's unit for each unit code that the term takes."""
    return [
        next((s for s, unit in SYMBOLS.items() if unit.code == code), UNITLESS)
        for code in term.codes
    ]


def cases() -> Iterator[tuple[Family, str, Term, str]]:
    for family in FAMILIES:
        for name, term in family.terms.items():
            for symbol in symbols_of(term) if term is not None else ():
                assert term is not None
                yield family, name, term, symbol


def values_of(term: Term) -> list[float]:
    """In the middle, at each limit, and beyond it; power, temperature and angles on both sides of zero."""
    ends = [end for end in (term.low, term.high) if end is not None]
    past = ([term.low - 0.5] if term.low is not None else []) + (
        [term.high + 0.5] if term.high is not None else []
    )
    return [0.5, *ends, *past, *([] if ends else [-4.5, 271.0])]


def window_of(name: str, value: float, unit_like: str) -> Window:
    window = counter(name, value, 0.25) if unit_like == "counter" else gauge(name, value)
    return replace(window, low=None, high=None) if unit_like == "counter" else window


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_term_in_each_unit_at_its_limits_and_past_them(family: Family) -> None:
    checked = 0
    for owner, name, term, symbol in cases():
        if owner is not family:
            continue
        signature = sorted(family.signature)[0]
        for value, kind in product(values_of(term), ("gauge", "counter")):
            windows = [window_of(name, value, kind)]
            points = [(name, symbol)]
            if name not in family.signature:
                first = family.terms[signature]
                assert first is not None
                points.append((signature, symbols_of(first)[0]))
                windows.append(gauge(signature, 0.5))
            if family.name == "photovoltaic" and name != "pv.temperature":
                points.append(("pv.temperature", "Cel"))  # its model demands one
                windows.append(gauge("pv.temperature", 20.0))
            entities = entities_of(windows, plan(*points))
            for entity in entities:
                frost = name == "pv.temperature" and value < 0 and "Photovoltaic" in entity["type"]
                assert problems(entity) == (FROST if frost else []), (name, symbol, value)
            assert readings_in(entities) == sum(window.count for window in windows)
            checked += 1
    assert checked > 0


@pytest.mark.parametrize("model", sorted(LIBRARY))
def test_each_device_that_a_driver_knows(model: str) -> None:
    driver = LIBRARY[model]
    points = tuple((p.name, p.unit, p.kind.value) for p in driver.points)
    site = SitePlan("gw-1", (9.19, 45.46), "src", "City", (DevicePlan("dev", model, "x", points),))
    windows = [
        counter(p.name, max(p.low, 0.0) + 1.0, 0.5)
        if p.kind.value == "counter"
        else gauge(p.name, (p.low + p.high) / 2)
        for p in driver.points
    ]
    entities: list[dict[str, Any]] = [
        *entities_of(windows, site),
        *device_entities(site, {"dev": DeviceState("ok", START)}, START),
        *model_entities(site),
    ]
    for entity in entities:
        assert problems(entity) == [], entity["id"]
        assert expand(entity)["@type"] == [entity["type"]]
    assert readings_in(entities) == sum(window.count for window in windows)


def test_the_drivers_reach_every_model_of_the_design_or_the_examples_do() -> None:
    types = {family.type.rsplit("/", 1)[1] for family in FAMILIES} | {"DeviceMeasurement"}
    assert types == MODELS


def test_every_severity_and_category_that_a_site_may_name_makes_a_valid_alert() -> None:
    site = plan(("level", "m"))
    categories = get_args(schema._AlertRule.model_fields["category"].annotation)
    severities = get_args(schema._AlertRule.model_fields["severity"].annotation)
    assert len(categories) * len(severities) > 20
    for severity, category, until in product(severities, categories, (None, START + 1)):
        alarm = Alarm("high-water", "dev", START, severity, "above 2 m", category, until=until)
        entity = alert_entity(site, alarm)
        assert problems(entity) == []
        assert key_values(entity)["type"] == "Alert"
