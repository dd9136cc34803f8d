"""Windows: every reading counted once, qualities, times, order, determinism."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.model import (
    GOOD,
    Instant,
    Quality,
    Reading,
    Sample,
    Scalar,
    Severity,
    TimeQuality,
    Window,
)

SECOND = 1_000_000_000
WIDTH = 60 * SECOND
BASE = 1_700_000_040 * SECOND  # a multiple of the width

BAD = Quality(Severity.BAD, "no_response")
SUSPECT = Quality(Severity.UNCERTAIN, "out_of_range")


def timed(
    seconds: float,
    *readings: Reading,
    device: str = "meter",
    trust: TimeQuality = TimeQuality.SYNCED,
) -> Timed:
    utc = BASE + round(seconds * SECOND)
    return Timed(Sample(device, Instant("boot", utc), readings), utc, trust)


def reduced(*samples: Timed, kinds: dict[tuple[str, str], str] | None = None) -> list[Window]:
    return reduce_windows(samples, WIDTH, kinds or {}, Carry())[0]


def gauge(seconds: float, value: Scalar | None, quality: Quality = GOOD) -> Timed:
    return timed(seconds, Reading("p", value, quality))


def test_a_gauge_has_mean_range_last_and_count() -> None:
    (window,) = reduced(gauge(0, 10.0), gauge(10, 20.0), gauge(20, 0.0))
    assert (window.mean, window.low, window.high, window.last) == (12.5, 0.0, 20.0, 0.0)
    assert (window.good, window.uncertain, window.bad, window.delta) == (3, 0, 0, None)
    assert (window.start, window.end) == (BASE, BASE + WIDTH)
    assert window.observed == BASE + 20 * SECOND
    assert window.quality == GOOD


def test_a_burst_does_not_weigh_more_than_the_time_it_covers() -> None:
    burst = [gauge(30 + i / 1000, 100.0) for i in range(10)]
    (window,) = reduced(gauge(0, 0.0), *burst, gauge(59, 100.0))
    assert window.mean is not None
    assert abs(window.mean - (30 * 50 + 29 * 100) / 59) < 0.01


def test_late_samples_change_neither_mean_nor_last() -> None:
    samples = [gauge(0, 1.0), gauge(5, 7.0), gauge(20, 3.0), gauge(50, 2.0)]
    assert reduced(*samples) == reduced(samples[2], samples[0], samples[3], samples[1])


def test_windows_are_aligned_to_utc_and_half_open() -> None:
    windows = reduced(gauge(-0.000000001, 1.0), gauge(0, 2.0), gauge(59.999, 3.0), gauge(60, 4.0))
    assert [w.start - BASE for w in windows] == [-WIDTH, 0, WIDTH]
    assert [w.count for w in windows] == [1, 2, 1]


def test_before_1970_is_a_window_too() -> None:
    early = Timed(Sample("d", Instant("b", 0), (Reading("p", 1.0),)), -1, TimeQuality.UNSYNCED)
    (window,) = reduced(early)
    assert (window.start, window.end) == (-WIDTH, 0)


def test_order_is_start_device_point() -> None:
    windows = reduced(
        timed(70, Reading("a", 1), device="a"),
        timed(1, Reading("z", 1), Reading("b", 1), device="z"),
        timed(2, Reading("b", 1), device="a"),
    )
    assert [(w.start - BASE, w.device, w.point) for w in windows] == [
        (0, "a", "b"),
        (0, "z", "b"),
        (0, "z", "z"),
        (WIDTH, "a", "a"),
    ]


def test_quality_of_a_window() -> None:
    assert reduced(gauge(0, 1.0), gauge(1, 2.0))[0].quality == GOOD
    assert reduced(gauge(0, 1.0), gauge(1, 2.0, SUSPECT))[0].quality == SUSPECT
    assert reduced(gauge(0, None, BAD), gauge(1, 2.0, SUSPECT))[0].quality == SUSPECT
    assert reduced(gauge(0, 1.0), gauge(1, None, BAD))[0].quality == Quality(
        Severity.UNCERTAIN, "partial"
    )
    stopped = Quality(Severity.BAD, "device_fault")
    assert reduced(gauge(0, 9.0, BAD), gauge(1, None, stopped))[0].quality == BAD


def test_a_bad_value_is_counted_and_not_used() -> None:
    (window,) = reduced(gauge(0, 5.0), gauge(1, 999.0, BAD))
    assert (window.mean, window.high, window.last, window.bad) == (5.0, 5.0, 5.0, 1)
    (window,) = reduced(gauge(0, 999.0, BAD))
    assert (window.mean, window.low, window.high, window.last) == (None, None, None, None)
    assert window.observed == BASE


def test_text_truth_and_not_a_number() -> None:
    (window,) = reduced(gauge(0, "open"), gauge(1, "closed"))
    assert (window.last, window.mean, window.count) == ("closed", None, 2)
    (window,) = reduced(gauge(1, True), gauge(0, False))
    assert (window.last, window.mean, window.count) == (True, None, 2)
    (window,) = reduced(gauge(0, math.nan), gauge(1, math.inf))
    assert (window.last, window.mean, window.count) == (None, None, 2)
    (window,) = reduced(gauge(0, None))
    assert (window.last, window.mean, window.good) == (None, None, 1)


def test_the_worst_time_quality_is_told() -> None:
    trusts = [TimeQuality.SYNCED, TimeQuality.UNSYNCED, TimeQuality.HOLDOVER]
    samples = [timed(i, Reading("p", 1.0), trust=t) for i, t in enumerate(trusts)]
    assert reduced(*samples)[0].time_quality is TimeQuality.UNSYNCED


_VALUES = st.one_of(
    st.floats(allow_nan=True),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.text(max_size=3),
    st.none(),
)
_QUALITIES = st.sampled_from([GOOD, SUSPECT, BAD])
_READINGS = st.builds(Reading, st.sampled_from(["a", "b", "serial"]), _VALUES, _QUALITIES)
_SAMPLES = st.builds(
    lambda device, utc, readings, trust: Timed(
        Sample(device, Instant("boot", utc), tuple(readings)), utc, trust
    ),
    st.sampled_from(["x", "y"]),
    st.integers(-300 * SECOND, 300 * SECOND),
    st.lists(_READINGS, max_size=4),
    st.sampled_from(list(TimeQuality)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_SAMPLES, max_size=30))
def test_every_reading_is_counted_in_exactly_one_window(samples: list[Timed]) -> None:
    kinds = {("x", "a"): "counter", ("y", "b"): "counter"}
    windows, carry = reduce_windows(samples, WIDTH, kinds, Carry())
    assert sum(w.count for w in windows) == sum(len(t.sample.readings) for t in samples)
    assert len({(w.device, w.point, w.start) for w in windows}) == len(windows)
    for window in windows:
        assert window.start <= window.observed < window.end
        if window.mean is not None and window.low is not None and window.high is not None:
            assert window.low <= window.mean <= window.high
    assert (windows, carry) == reduce_windows(samples, WIDTH, kinds, Carry())
    assert Carry.from_bytes(carry.to_bytes()) == carry
