import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.model import GOOD, Reading, Scalar
from lamppost.quality.checks import (
    Checker,
    Limits,
    Trace,
    absent,
    against_past,
    lowered,
    of_value,
)
from lamppost.quality.codes import STATUS_CODES, quality
from lamppost_drivers.contract import Absent, Kind, Point

VOLTAGE = Point("voltage", "V", 0, 300)
OUTDOORS = Point("temperature", "Cel", -40, 85)
HUMIDITY = Point("humidity", "%RH", 0, 100)
ENERGY = Point("energy", "kWh", 0, 1000, Kind.COUNTER)


@pytest.mark.parametrize(
    ("point", "value", "reason"),
    [
        (VOLTAGE, 230.2, "good"),
        (VOLTAGE, 0.0, "good"),
        (VOLTAGE, -0.0, "good"),
        (VOLTAGE, 300, "at_limit"),
        (VOLTAGE, 300.01, "out_of_range"),
        (VOLTAGE, -1, "out_of_range"),
        (OUTDOORS, -40, "at_limit"),
        (OUTDOORS, 85.0, "at_limit"),
        (HUMIDITY, 100, "good"),
        (HUMIDITY, 101, "out_of_range"),
        (ENERGY, 1000, "good"),
        (VOLTAGE, math.nan, "sensor_fault"),
        (VOLTAGE, math.inf, "sensor_fault"),
        (VOLTAGE, True, "good"),
        (VOLTAGE, "SN-1", "good"),
    ],
)
def test_a_value_is_kept_and_marked(point: Point, value: Scalar, reason: str) -> None:
    reading = of_value(point, value)
    assert reading.value is value
    assert reading.quality == quality(reason)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (Absent.NOT_AVAILABLE, "not_available"),
        (Absent.SENSOR_FAULT, "sensor_fault"),
        (Absent.WARMING_UP, "not_available"),
        (None, "not_available"),
    ],
)
def test_an_absent_value_is_bad(missing: Absent | None, reason: str) -> None:
    assert of_value(VOLTAGE, missing) == Reading("voltage", None, quality(reason))


def test_absent_marks_all() -> None:
    assert absent((VOLTAGE, ENERGY), quality("no_response")) == (
        Reading("voltage", None, quality("no_response")),
        Reading("energy", None, quality("no_response")),
    )


def test_a_step_is_judged_by_its_rate() -> None:
    limits = Limits(step=2.0)
    first, trace = against_past(Reading("t", 20.0), limits, None, 10.0)
    assert (first.quality, trace) == (GOOD, Trace(20.0, 10.0, 10.0))
    slow, _ = against_past(Reading("t", 22.0), limits, trace, 11.0)
    fast, _ = against_past(Reading("t", 22.1), limits, trace, 11.0)
    later, _ = against_past(Reading("t", 30.0), limits, trace, 15.0)
    assert [r.quality.reason for r in (slow, fast, later)] == ["good", "step", "good"]


def test_stuck_counts_from_the_last_change() -> None:
    checker = Checker((OUTDOORS,), {"temperature": Limits(stuck=60.0)})
    reasons = [
        checker.check(("temperature",), {"temperature": value}, at)[0].quality.reason
        for at, value in [(0, 20.0), (30, 20.5), (90, 20.5), (91, 20.5), (120, 20.6), (150, 20.6)]
    ]
    assert reasons == ["good", "good", "good", "stuck", "good", "good"]


def test_a_missing_value_neither_breaks_nor_feeds_the_memory() -> None:
    checker = Checker((OUTDOORS,), {"temperature": Limits(step=1.0, stuck=60.0)})
    checker.check(("temperature",), {"temperature": 20.0}, 0.0)
    checker.check(("temperature",), {}, 1.0)
    checker.check(("temperature",), {"temperature": math.nan}, 2.0)
    assert checker.check(("temperature",), {"temperature": 22.5}, 3.0)[0].quality is GOOD
    assert checker.check(("temperature",), {"temperature": 99.0}, 4.0)[0].quality == quality(
        "out_of_range"
    )


SCALARS = st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3))


@given(SCALARS, st.sampled_from(sorted(STATUS_CODES)), st.sampled_from(sorted(STATUS_CODES)))
def test_never_raised_never_changed(value: Scalar | None, had: str, doubt: str) -> None:
    before = Reading("p", value, quality(had))
    after = lowered(before, quality(doubt))
    assert after.value is value
    assert after.quality.severity >= before.quality.severity
    if after.quality.severity == before.quality.severity:
        assert after.quality == before.quality
