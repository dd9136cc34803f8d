"""The mapping's rules: what goes where, counts, qualities, times, traps. Needs no shared folder."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from fakes.windows import MINUTE, NO_RESPONSE, SECOND, START, counter, gauge, plan, silent
from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.model import (
    GOOD,
    Gap,
    Instant,
    Quality,
    Reading,
    Sample,
    Severity,
    Span,
    TimeQuality,
    Window,
)
from lamppost.ngsild.entities import (
    DevicePlan,
    DeviceState,
    SitePlan,
    device_entities,
    entities_of,
)
from lamppost.ngsild.normalized import utc_text

ENERGY = "https://smartdatamodels.org/dataModel.Energy/"
AIR = "https://smartdatamodels.org/dataModel.Environment/"
WEATHER = "https://smartdatamodels.org/dataModel.Weather/"
DEVICE = "https://smartdatamodels.org/dataModel.Device/"
OWN = "urn:lamppost:"


def readings_in(entities: list[dict[str, Any]]) -> int:
    """As the hub counts: the sum of all `count` sub-properties."""
    total = 0
    for entity in entities:
        for attribute in entity.values():
            if isinstance(attribute, dict) and OWN + "count" in attribute:
                count = attribute[OWN + "count"]["value"]
                total += sum(count.values()) if isinstance(count, dict) else count
    return total


def one(window: Window, *points: tuple[str, str]) -> dict[str, Any]:
    (entity,) = entities_of([window], plan(*points))
    return entity


def test_a_gauge_in_full() -> None:
    entity = one(gauge("frequency", 50.0), ("frequency", "Hz"))
    assert entity["id"] == "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"
    assert entity["type"] == ENERGY + "ThreePhaseAcMeasurement"
    assert entity[ENERGY + "frequency"] == {
        "type": "Property",
        "value": 50.0,
        "unitCode": "HTZ",
        "observedAt": "2025-11-24T16:00:59Z",
        OWN + "min": {"type": "Property", "value": 49.0},
        OWN + "max": {"type": "Property", "value": 51.0},
        OWN + "last": {"type": "Property", "value": 50.0},
        OWN + "count": {"type": "Property", "value": 60},
        OWN + "quality": {"type": "Property", "value": "good"},
        OWN + "windowStart": {"type": "Property", "value": "2025-11-24T16:00:00Z"},
        OWN + "windowEnd": {"type": "Property", "value": "2025-11-24T16:01:00Z"},
    }
    assert entity[ENERGY + "refDevice"] == {
        "type": "Relationship",
        "object": ["urn:ngsi-ld:Device:gw-1:dev"],
    }
    assert entity["location"]["value"] == {"type": "Point", "coordinates": [9.19, 45.46]}
    assert entity["https://smartdatamodels.org/dateObserved"] == {
        "type": "Property",
        "value": {"@type": "DateTime", "@value": "2025-11-24T16:00:59Z"},
        "observedAt": "2025-11-24T16:00:59Z",
    }


def test_a_counter_has_its_stand_and_what_it_counted() -> None:
    entity = one(counter("energy.import", 1234.5, 0.25), ("energy.import", "kWh"))
    attribute = entity[ENERGY + "totalActiveEnergyImport"]
    assert (attribute["value"], attribute["unitCode"]) == (1234.5, "KWH")
    assert attribute[OWN + "delta"]["value"] == 0.25
    assert OWN + "min" not in attribute


def test_phases_make_one_object_and_keep_their_own_counts() -> None:
    points = tuple((f"voltage.l{n}", "V") for n in "123")
    late = structs.replace(gauge("voltage.l3", 232.0), observed=START + 40 * SECOND, good=41)
    windows = [gauge("voltage.l2", 231.0), late, gauge("voltage.l1", 230.0)]
    (entity,) = entities_of(windows, plan(*points))
    attribute = entity[ENERGY + "phaseVoltage"]
    assert attribute["value"] == {"L1": 230.0, "L2": 231.0, "L3": 232.0}
    assert list(attribute["value"]) == ["L1", "L2", "L3"]
    assert attribute[OWN + "count"]["value"] == {"L1": 60, "L2": 60, "L3": 41}
    assert attribute[OWN + "max"]["value"] == {"L1": 231.0, "L2": 232.0, "L3": 233.0}
    assert attribute["observedAt"] == "2025-11-24T16:00:59Z"


def test_a_silent_phase_is_told_beside_the_others() -> None:
    points = tuple((f"voltage.l{n}", "V") for n in "12")
    (entity,) = entities_of([gauge("voltage.l1", 230.0), silent("voltage.l2")], plan(*points))
    assert entity[ENERGY + "phaseVoltage"]["value"] == {"L1": 230.0}
    why = entity[OWN + "quality:phaseVoltage.L2"]
    assert (why["value"], why["observedAt"]) == ("no_response", "2025-11-24T16:00:59Z")
    assert why[OWN + "count"]["value"] == why[OWN + "bad"]["value"] == 60


def test_a_bad_window_sends_quality_and_time_and_no_value() -> None:
    entity = one(silent("pm25"), ("pm25", "ug/m3"))
    assert AIR + "pm25" not in entity
    why = entity[OWN + "quality:pm25"]
    assert why["value"] == "no_response"
    assert why["observedAt"] == "2025-11-24T16:00:59Z"
    assert why[OWN + "windowEnd"]["value"] == "2025-11-24T16:01:00Z"
    assert readings_in([entity]) == 60


def test_uncertain_and_bad_readings_of_a_window_are_counted_beside_the_whole() -> None:
    window = structs.replace(
        gauge("pm25", 9.0),
        quality=Quality(Severity.UNCERTAIN, "out_of_range"),
        good=50,
        uncertain=7,
        bad=3,
        time_quality=TimeQuality.UNSYNCED,
    )
    attribute = one(window, ("pm25", "ug/m3"))[AIR + "pm25"]
    assert attribute[OWN + "count"]["value"] == 60
    assert attribute[OWN + "uncertain"]["value"] == 7
    assert attribute[OWN + "bad"]["value"] == 3
    assert attribute[OWN + "quality"]["value"] == "out_of_range"
    assert attribute[OWN + "timeQuality"]["value"] == "unsynced"


def test_an_unknown_quantity_goes_out_as_a_device_measurement() -> None:
    entity = one(gauge("phase_angle", 12.5), ("phase_angle", "deg"))
    assert entity["id"] == "urn:ngsi-ld:DeviceMeasurement:gw-1:dev:phase_angle"
    assert entity[DEVICE + "numValue"]["value"] == 12.5
    assert entity[DEVICE + "numValue"]["unitCode"] == "DD"
    assert entity[DEVICE + "controlledProperty"]["value"] == "phase_angle"
    assert entity[DEVICE + "unit"]["value"] == "deg"
    assert entity[DEVICE + "refDevice"]["object"] == "urn:ngsi-ld:Device:gw-1:dev"


def test_an_unknown_unit_a_unit_that_does_not_fit_and_a_point_off_the_plan_are_generic() -> None:
    for window, points in (
        (gauge("flow", 5.0), [("flow", "acre-foot/d")]),
        (gauge("no2", 5.0), [("no2", "mV")]),
        (gauge("flow", 5.0), []),
    ):
        (entity,) = entities_of([window], plan(*points))
        assert entity["type"] == DEVICE + "DeviceMeasurement"
        assert entity[DEVICE + "numValue"]["value"] == 5.0
    assert "unitCode" not in one(gauge("flow", 5.0), ("flow", "acre-foot/d"))[DEVICE + "numValue"]


def test_text_and_truth_values() -> None:
    assert one(counter("valve", "open"))[DEVICE + "textValue"]["value"] == "open"
    truth = one(counter("running", True))[DEVICE + "textValue"]
    assert (truth["value"], truth[OWN + "last"]["value"]) == ("true", True)


@pytest.mark.parametrize("power", [-4200.5, 0.0, 4200.5])
def test_trap_negative_power_is_exported(power: float) -> None:
    points = [("power.l1", "W"), ("power", "W")]
    (entity,) = entities_of([gauge("power.l1", power), gauge("power", power)], plan(*points))
    assert entity["type"].endswith("ThreePhaseAcMeasurement")  # ACMeasurement forbids it
    assert entity[ENERGY + "activePower"]["value"] == {"L1": power}
    assert entity[ENERGY + "totalActivePower"]["value"] == power


@pytest.mark.parametrize("name", ["battery.temperature", "pv.temperature"])
def test_trap_frost_on_battery_and_panels(name: str) -> None:
    points = [("state_of_charge", "%"), ("pv.power", "W"), (name, "Cel")]
    (warm,) = entities_of([gauge(name, 0.5)], plan(*points))
    assert not warm["type"].endswith("DeviceMeasurement")
    (frost,) = entities_of([gauge(name, -0.5)], plan(*points))
    assert frost["type"] == DEVICE + "DeviceMeasurement"
    assert frost[DEVICE + "numValue"]["value"] == -0.5
    assert frost[DEVICE + "numValue"]["unitCode"] == "CEL"
    assert readings_in([frost]) == 60


@pytest.mark.parametrize(("given_", "sent"), [(271.0, 271.0), (-89.0, 271.0), (360.0, 0.0)])
def test_trap_wind_direction_is_0_to_360_and_no_mean(given_: float, sent: float) -> None:
    window = structs.replace(gauge("wind_direction", 180.0), last=given_)
    attribute = one(window, ("wind_direction", "deg"))[WEATHER + "windDirection"]
    assert attribute["value"] == sent
    assert OWN + "min" not in attribute


def test_trap_humidity_is_a_share_and_pressure_hectopascal() -> None:
    points = [("humidity", "%RH"), ("pressure", "Pa")]
    (entity,) = entities_of([gauge("humidity", 45.5), gauge("pressure", 99_850.0)], plan(*points))
    humidity, pressure = entity[AIR + "relativeHumidity"], entity[AIR + "pressure"]
    assert (humidity["value"], humidity["unitCode"]) == (0.455, "C62")
    assert humidity[OWN + "max"]["value"] == 0.465
    assert (pressure["value"], pressure["unitCode"]) == (998.5, "A97")


def test_trap_a_water_meter_counts_whole_litres() -> None:
    entity = one(counter("volume", 123.4567, 0.0123), ("volume", "m3"))
    attribute = entity["https://smartdatamodels.org/dataModel.WaterConsumption/waterConsumption"]
    assert attribute["value"] == 123_457
    assert isinstance(attribute["value"], int)
    assert attribute["unitCode"] == "LTR"
    assert attribute[OWN + "last"]["value"] == 123456.7
    assert attribute[OWN + "delta"]["value"] == 12.3


def test_a_value_that_the_schema_forbids_is_generic_for_that_window() -> None:
    below = structs.replace(gauge("level", -0.02), start=START + MINUTE, end=START + 2 * MINUTE)
    entities = entities_of([gauge("level", 1.0), below], plan(("level", "mm")))
    assert [e["type"].rsplit("/", 1)[1] for e in entities] == ["WaterObserved", "DeviceMeasurement"]
    assert entities[0][AIR + "waterLevel"]["value"] == 0.001
    assert entities[1][DEVICE + "numValue"] | {} == entities[1][DEVICE + "numValue"]
    assert (entities[1][DEVICE + "numValue"]["value"], readings_in(entities)) == (-0.02, 120)


def test_equal_names_follow_the_kind_of_device() -> None:
    def kind(*points: tuple[str, str]) -> str:
        (entity,) = entities_of([gauge("temperature", 20.0)], plan(*points, ("temperature", "Cel")))
        return str(entity["type"].rsplit("/", 1)[1])

    assert kind(("humidity", "%RH")) == "AirQualityObserved"
    assert kind(("wind_speed", "m/s")) == "WeatherObserved"
    assert kind(("ph", "pH")) == "WaterQualityObserved"
    assert kind(("voltage.l1", "V")) == "DeviceMeasurement"  # a meter's own warmth is no air
    assert kind(("flow", "m3/h")) == "DeviceMeasurement"


def test_a_plain_name_beside_its_phases_does_not_overwrite_l1() -> None:
    points = [("current", "A"), ("current.l1", "A"), ("current.n", "A")]
    windows = [gauge("current", 30.0), gauge("current.l1", 10.0), gauge("current.n", 1.0)]
    entities = entities_of(windows, plan(*points))
    assert entities[0][DEVICE + "numValue"]["value"] == 30.0
    assert entities[1][ENERGY + "current"]["value"] == {"L1": 10.0, "N": 1.0}


def test_heat_and_gas_of_one_device_are_two_entities() -> None:
    points = [("gas.volume", "m3"), ("energy.heat", "GJ")]
    windows = [counter("gas.volume", 5.0), counter("energy.heat", 3.6)]
    gas, heat = entities_of(windows, plan(*points))
    assert (gas["id"], gas[DEVICE + "meterType"]["value"]) == (
        "urn:ngsi-ld:SmartMeteringObservation:gw-1:dev:gas",
        "Gas",
    )
    assert (heat["id"], heat[DEVICE + "totalConsumption"]["value"]) == (
        "urn:ngsi-ld:SmartMeteringObservation:gw-1:dev",
        1000.0,
    )


def test_rain_is_what_fell_in_the_window() -> None:
    site = plan(("rain", "mm"))
    (entity,) = entities_of([counter("rain", 812.4, 0.2)], site)
    attribute = entity[WEATHER + "precipitation"]
    assert (attribute["value"], attribute[OWN + "last"]["value"]) == (0.2, 812.4)
    (first,) = entities_of([counter("rain", 812.4, None)], site)
    assert first[OWN + "quality:precipitation"]["value"] == "not_available"
    assert readings_in([first]) == 6


def test_one_entity_for_each_window_and_window_length() -> None:
    site = plan(("pm25", "ug/m3"))
    next_ = gauge("pm25", 2.0, start=START + MINUTE)
    coarse = structs.replace(gauge("pm25", 3.0), end=START + 15 * MINUTE)
    entities = entities_of([gauge("pm25", 1.0), next_, coarse, gauge("pm25", 4.0)], site)
    assert [e[AIR + "pm25"]["value"] for e in entities] == [1.0, 2.0, 3.0, 4.0]
    assert len({e["id"] for e in entities}) == 1


def test_without_a_place_a_source_and_a_provider_nothing_is_invented() -> None:
    site = SitePlan("gw", devices=(DevicePlan("d", "m", points=(("pm25", "ug/m3", "gauge"),)),))
    (entity,) = entities_of([gauge("pm25", 1.0, device="d")], site)
    assert set(entity) == {
        "id",
        "type",
        AIR + "pm25",
        AIR + "refDevice",
        "https://smartdatamodels.org/dateObserved",
    }


def test_gaps_go_along_and_count_nothing() -> None:
    gaps = [Gap(Span(10, 19), "evicted")]
    entities = entities_of([gauge("pm25", 1.0)], plan(("pm25", "ug/m3")), gaps, epoch="e7")
    assert entities[1] == {
        "id": "urn:ngsi-ld:Gap:gw-1:e7:10-19",
        "type": OWN + "Gap",
        OWN + "gap": {"type": "Property", "value": {"first": 10, "last": 19, "why": "evicted"}},
        OWN + "gateway": {"type": "Relationship", "object": "urn:ngsi-ld:Device:gw-1"},
    }
    assert readings_in(entities) == 60


def test_devices_and_their_gateway() -> None:
    site = plan(("voltage", "V"), ("temperature", "Cel"))
    gateway, device = device_entities(site, {"dev": DeviceState("no_response", START)}, START)
    assert gateway["id"] == "urn:ngsi-ld:Device:gw-1"
    assert gateway[DEVICE + "controlledProperty"]["value"] == ["power", "temperature"]
    assert gateway[DEVICE + "deviceState"]["value"] == "ok"
    assert device["id"] == "urn:ngsi-ld:Device:gw-1:dev"
    assert device[DEVICE + "deviceState"] == {
        "type": "Property",
        "value": "no_response",
        "observedAt": "2025-11-24T16:00:00Z",
    }
    assert device[DEVICE + "deviceCategory"]["value"] == ["meter"]
    (_, unseen) = device_entities(site, {}, START)
    assert DEVICE + "deviceState" not in unseen


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_000_001_999, "1970-01-01T00:00:01.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (10**21, "9999-12-31T23:59:59.999999Z"),
        (-(10**21), "0001-01-01T00:00:00Z"),
    ],
)
def test_times_as_text(ns: int, text: str) -> None:
    assert utc_text(ns) == text


@pytest.mark.parametrize("value", [2**70, -(2**70), 1e30])
@pytest.mark.parametrize("point", [("volume", "m3"), ("odd", ""), ("voltage.l1", "V")])
def test_numbers_past_64_bits_do_not_keep_a_batch_from_being_written(
    point: tuple[str, str], value: float
) -> None:
    window = structs.replace(gauge(point[0], 1.0), last=value, mean=float(value))
    written = orjson.dumps(entities_of([window], plan(point)))
    (attribute,) = [a for a in orjson.loads(written)[0].values() if OWN + "last" in a]
    last = attribute[OWN + "last"]["value"]
    assert (last["L1"] if isinstance(last, dict) else last) == float(value)


_NAMES = ["voltage.l1", "voltage.l2", "voltage", "temperature", "volume", "rain", "valve", "pm25"]
_SYMBOLS = ["V", "Cel", "m3", "mm", "", "ug/m3", "furlong"]
_VALUES = st.one_of(
    st.floats(), st.integers(-(2**53), 2**53), st.booleans(), st.text(max_size=3), st.none()
)
_QUALITIES = [GOOD, NO_RESPONSE, Quality(Severity.UNCERTAIN, "stale")]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_SYMBOLS)), max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from(_NAMES),
            _VALUES,
            st.sampled_from(_QUALITIES),
            st.integers(0, 3 * MINUTE),
        ),
        max_size=40,
    ),
    st.sets(st.sampled_from(_NAMES)),
)
def test_every_reading_of_a_batch_is_in_the_counts_of_its_entities(
    points: list[tuple[str, str]],
    rows: list[tuple[str, Any, Quality, int]],
    counters: set[str],
) -> None:
    samples = [
        Timed(
            Sample("dev", Instant("b", 0), (Reading(name, value, quality),)),
            START + offset,
            TimeQuality.SYNCED,
        )
        for name, value, quality, offset in rows
    ]
    kinds = {("dev", name): "counter" for name in counters}
    windows, _ = reduce_windows(samples, MINUTE, kinds, Carry())
    entities = entities_of(windows, plan(*dict(points).items()))
    assert readings_in(entities) == len(rows)
    assert json.loads(orjson.dumps(entities)) == json.loads(json.dumps(entities, allow_nan=False))
    assert "null" not in json.dumps(entities)
