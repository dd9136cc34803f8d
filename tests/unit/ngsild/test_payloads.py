"""Every payload kind fits its schema and expands to the pinned IRIs. Needs the shared folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fakes.windows import START, counter, gauge, plan
from lamppost.model import Gap, Span, Window
from lamppost.ngsild.devices import Alarm, alert_entity
from lamppost.ngsild.entities import (
    DeviceState,
    device_entities,
    entities_of,
    gap_entities,
    model_entities,
)
from lamppost.ngsild.terms import FAMILIES
from sdm_validation import expand, key_values, problems, subject_context

pytestmark = pytest.mark.shared

Case = tuple[str, Sequence[tuple[str, str]], Sequence[Window]]

PHASES = [f"{stem}.l{n}" for stem in ("voltage", "current", "power", "power_factor") for n in "123"]

CASES: list[Case] = [
    (
        "ThreePhaseAcMeasurement",
        [
            *((p, {"v": "V", "c": "A"}.get(p[0], "/" if "factor" in p else "W")) for p in PHASES),
            ("frequency", "Hz"),
            ("power", "W"),
            ("energy.import", "kWh"),
            ("reactive_energy.export", "kvarh"),
            ("voltage.l1_l2", "V"),
            ("voltage_thd.l1", "%"),
        ],
        [
            *(
                gauge(p, 0.5 if "factor" in p else -230.0 if "power" in p else 230.0)
                for p in PHASES
            ),
            gauge("frequency", 50.01),
            gauge("power", -4200.5),
            counter("energy.import", 12345.678, 0.25),
            counter("reactive_energy.export", 5.5, 0.0),
            gauge("voltage.l1_l2", 400.0),
            gauge("voltage_thd.l1", 2.5),
        ],
    ),
    (
        "ThreePhaseAcMeasurement",
        [("voltage", "V"), ("current", "A"), ("power", "W"), ("power_factor", "/")],
        [
            gauge("voltage", 231.0),
            gauge("current", 4.0),
            gauge("power", -924.0),
            gauge("power_factor", -0.99),
        ],
    ),
    (
        "AirQualityObserved",
        [
            *((p, "ug/m3") for p in ("pm1", "pm25", "pm10", "no2", "voc")),
            ("temperature", "Cel"),
            ("humidity", "%RH"),
            ("pressure", "Pa"),
            ("co2", "ppm"),
            ("co", "ppm"),
        ],
        [
            *(gauge(p, 12.5) for p in ("pm1", "pm25", "pm10", "no2", "voc")),
            gauge("temperature", -12.0),
            gauge("humidity", 55.0),
            gauge("pressure", 101_325.0),
            gauge("co2", 415.0),
            gauge("co", 2.0),
        ],
    ),
    (
        "WeatherObserved",
        [
            ("wind_speed", "m/s"),
            ("wind_direction", "deg"),
            ("rain", "mm"),
            ("illuminance", "lx"),
            ("solar_radiation", "W/m2"),
            ("temperature", "Cel"),
            ("humidity", "%RH"),
            ("pressure", "hPa"),
        ],
        [
            gauge("wind_speed", 3.0),
            gauge("wind_direction", 271.0),
            counter("rain", 812.4, 0.2),
            gauge("illuminance", 20_000.0),
            gauge("solar_radiation", 600.0),
            gauge("temperature", -3.0),
            gauge("humidity", 99.0),
            gauge("pressure", 990.0),
        ],
    ),
    (
        "NoiseLevelObserved",
        [("noise.laeq", "dBA"), ("noise.las", "dBA"), ("noise.lamax", "dBA")],
        [gauge("noise.laeq", 61.0), gauge("noise.las", 60.0), gauge("noise.lamax", 80.0)],
    ),
    (
        "WaterObserved",
        [("flow", "m3/h"), ("level", "m")],
        [gauge("flow", 12.0), gauge("level", 1.25)],
    ),
    (
        "WaterQualityObserved",
        [
            ("ph", "pH"),
            ("conductivity", "uS/cm"),
            ("turbidity", "NTU"),
            ("dissolved_oxygen", "mg/l"),
            ("orp", "mV"),
            ("temperature", "Cel"),
        ],
        [
            gauge("ph", 7.2),
            gauge("conductivity", 520.0),
            gauge("turbidity", 1.5),
            gauge("dissolved_oxygen", 8.0),
            gauge("orp", 210.0),
            gauge("temperature", 11.0),
        ],
    ),
    ("WaterConsumptionObserved", [("volume", "m3")], [counter("volume", 123.4567, 0.01)]),
    ("SmartMeteringObservation", [("gas.volume", "m3")], [counter("gas.volume", 4567.891, 0.5)]),
    (
        "SmartMeteringObservation",
        [
            ("energy.heat", "GJ"),
            ("flow", "l/h"),
            ("volume", "m3"),
            ("temperature.supply", "Cel"),
            ("temperature.return", "Cel"),
        ],
        [
            counter("energy.heat", 36.0, 0.1),
            gauge("flow", 300.0),
            counter("volume", 88.0, 0.1),
            gauge("temperature.supply", 70.0),
            gauge("temperature.return", 40.0),
        ],
    ),
    (
        "PhotovoltaicMeasurement",
        [("pv.power", "W"), ("pv.temperature", "Cel")],
        [gauge("pv.power", 2500.0), gauge("pv.temperature", 31.0)],
    ),
    (
        "StorageBatteryMeasurement",
        [("state_of_charge", "%"), ("battery.power", "W"), ("battery.temperature", "Cel")],
        [
            gauge("state_of_charge", 81.0),
            gauge("battery.power", -900.0),
            gauge("battery.temperature", 12.0),
        ],
    ),
    ("DeviceMeasurement", [("phase_angle", "deg")], [gauge("phase_angle", 12.0)]),
    ("DeviceMeasurement", [("valve", "")], [counter("valve", "open")]),
    ("DeviceMeasurement", [("running", "")], [counter("running", True)]),
]


def names(case: Case) -> str:
    return f"{case[0]}-{case[1][0][0]}"


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_payload_fits_its_schema(case: Case) -> None:
    model, points, windows = case
    entities = entities_of(windows, plan(*points))
    assert [key_values(e)["type"] for e in entities] == [model]
    assert problems(entities[0]) == []


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_payload_with_datasets_fits_its_schema_and_expands_to_itself(case: Case) -> None:
    model, points, windows = case
    (entity,) = entities_of(windows, replace(plan(*points), datasets=True))
    assert key_values(entity)["type"] == model
    assert problems(entity) == []
    (plain,) = entities_of(windows, plan(*points))
    assert key_values(entity) == key_values(plain)
    assert set(expand(entity)) == set(expand(plain))


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_payload_expands_to_itself(case: Case) -> None:
    """Every name is already a full IRI or a core term: a broker needs no context."""
    _, points, windows = case
    (entity,) = entities_of(windows, plan(*points))
    expanded = expand(entity)
    core = "https://uri.etsi.org/ngsi-ld/"
    long = {core + "location" if n == "location" else n for n in entity if n not in ("id", "type")}
    assert set(expanded) == long | {"@id", "@type"}
    assert expanded["@type"] == [entity["type"]]
    # Keys inside a per-phase value are part of the value and stay as the model writes them.
    unknown = set(re.findall(r"default-context/([^'\"]+)", str(expanded)))
    assert unknown <= {"L1", "L2", "L3", "N", "L12"}


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_short_names_expand_to_the_pinned_iris_in_the_subjects_context(case: Case) -> None:
    _, points, windows = case
    (entity,) = entities_of(windows, plan(*points))
    subject = entity["type"].split("dataModel.")[1].split("/")[0]
    context = subject_context(subject)
    assert context[key_values(entity)["type"]] == entity["type"]
    foreign = {"refDevice", "dateObserved"}  # some subjects do not define these two
    for name in entity:
        if name.startswith("https://smartdatamodels.org/"):
            short = name.rsplit("/", 1)[1]
            if short in context or short not in foreign:
                assert context[short] == name
    short_form = {n.rsplit("/", 1)[-1]: a for n, a in entity.items() if not n.startswith("urn:")}
    short_form["type"] = key_values(entity)["type"]
    expanded = expand(short_form, {k: v for k, v in context.items() if k not in ("id", "type")})
    assert expanded["@type"] == [entity["type"]]


def test_every_term_of_the_table_is_in_its_subjects_context() -> None:
    for family in FAMILIES:
        for name, term in family.terms.items():
            if term is None or term.iri.startswith("urn:lamppost:"):
                continue
            subject, short = term.iri.split("dataModel.")[1].split("/")
            assert subject_context(subject)[short] == term.iri, (family.name, name)


def test_device_model_and_alert_fit_their_schemas() -> None:
    site = plan(("voltage", "V"), ("temperature", "Cel"), ("phase_angle", "deg"))
    states = {"": DeviceState("degraded"), "dev": DeviceState("ok", START)}
    alarm = Alarm("high-water", "dev", START, "high", "level above 2 m", "naturalDisaster", "flood")
    ended = Alarm("high-water", "dev", START, "low", "over", until=START + 1)
    entities: list[dict[str, Any]] = [
        *device_entities(site, states, START),
        *model_entities(site),
        alert_entity(site, alarm),
        alert_entity(site, ended),
    ]
    for entity in entities:
        assert problems(entity) == []
        assert expand(entity)["@type"] == [entity["type"]]
        subject, kind = entity["type"].split("dataModel.")[1].split("/")
        context = subject_context(subject)
        assert context[kind] == entity["type"]
        for name in entity:
            short = name.rsplit("/", 1)[-1]
            if name.startswith("http") and short in context:
                assert context[short] == name


def test_a_gap_expands() -> None:
    (gap,) = gap_entities("gw-1", [Gap(Span(5, 9), "evicted")], "e1")
    assert expand(gap)["@type"] == ["urn:lamppost:Gap"]


def test_the_reduction_refuses_what_the_schema_refuses() -> None:
    """The check itself can fail: a wrong payload is found."""
    (entity,) = entities_of([gauge("humidity", 55.0)], plan(("humidity", "%RH")))
    name = next(n for n in entity if n.endswith("relativeHumidity"))
    entity[name]["value"] = 55.0
    assert problems(entity) == ["relativeHumidity: 55.0 is greater than the maximum of 1"]
    del entity["location"]
    assert len(problems(entity)) == 2
