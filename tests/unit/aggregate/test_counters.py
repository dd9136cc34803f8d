"""Counters: deltas over rollover, reset, exchange, late samples and batches."""

from __future__ import annotations

import pytest

from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.aggregate.reduce import counted
from lamppost.model import GOOD, Instant, Quality, Reading, Sample, Scalar, Severity, TimeQuality

SECOND = 1_000_000_000
WIDTH = 60 * SECOND
KINDS = {("meter", "energy.import"): "counter"}


def stand(seconds: float, value: Scalar, reason: str = "good", serial: str = "") -> Timed:
    quality = GOOD if reason == "good" else Quality(Severity.UNCERTAIN, reason)
    readings = [Reading("energy.import", value, quality)]
    if serial:
        readings.append(Reading("serial", serial))
    utc = round(seconds * SECOND)
    return Timed(Sample("meter", Instant("boot", utc), tuple(readings)), utc, TimeQuality.SYNCED)


def deltas(*samples: Timed, carry: Carry | None = None) -> list[float | None]:
    windows, _ = reduce_windows(samples, WIDTH, KINDS, carry or Carry())
    return [w.delta for w in windows if w.point == "energy.import"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (10.0, 12.5, (2.5, 12.5)),
        (10.0, 10.0, (0.0, 10.0)),
        (1234.5601, 1234.56, (0.0, 1234.5601)),  # float32 jitter
        (99_998.0, 3.0, (5.0, 3.0)),  # five digits
        (65_530, 4, (10.0, 4)),  # 16 bits
        (4_294_967.290, 0.004, (0.010, 0.004)),  # 32 bits of watt-hours
        (5_000.0, 0.2, (0.2, 0.2)),  # began again at zero
        (5_000.0, 1_200.0, (0.0, 1_200.0)),  # another meter
        (99_998.0, 40_000.0, (0.0, 40_000.0)),
        (5.0, -3.0, (0.0, -3.0)),
    ],
)
def test_what_was_counted(before: float, after: float, expected: tuple[float, float]) -> None:
    step, going_on = counted(before, after)
    assert step == pytest.approx(expected[0], abs=2e-3 if before > 4e6 else 1e-9)
    assert going_on == expected[1]


def test_the_first_stand_ever_has_no_delta_and_the_next_has() -> None:
    assert deltas(stand(0, 100.0)) == [None]
    assert deltas(stand(0, 100.0), stand(30, 101.0), stand(70, 104.0)) == [1.0, 3.0]


def test_a_delta_runs_across_batches_through_the_carry() -> None:
    windows, carry = reduce_windows([stand(0, 100.0)], WIDTH, KINDS, Carry())
    assert deltas(stand(60, 100.5), carry=Carry.from_bytes(carry.to_bytes())) == [0.5]
    assert windows[0].last == 100.0


def test_however_batches_are_cut_the_deltas_add_up() -> None:
    values = [99_990.0, 99_995.0, 99_999.0, 2.0, 6.0, 0.01, 3.0]
    samples = [stand(20 * i, v) for i, v in enumerate(values)]
    whole = sum(d or 0.0 for d in deltas(*samples))
    carry, parts = Carry(), 0.0
    for sample in samples:
        windows, carry = reduce_windows([sample], WIDTH, KINDS, carry)
        parts += windows[0].delta or 0.0
    assert parts == pytest.approx(whole)
    assert whole == pytest.approx(5 + 4 + 3 + 4 + 0.01 + 2.99)


def test_a_late_stand_counts_nothing_twice() -> None:
    _, carry = reduce_windows([stand(0, 10.0), stand(50, 20.0)], WIDTH, KINDS, Carry())
    windows, carry = reduce_windows([stand(30, 15.0), stand(70, 21.0)], WIDTH, KINDS, carry)
    assert [w.delta for w in windows] == [None, 1.0]
    assert carry.stands["meter", "energy.import"] == (21.0, 70 * SECOND)


def test_a_doubtful_stand_does_not_move_the_counter() -> None:
    wild = stand(20, 4_294_967_295.0, "out_of_range")
    assert deltas(stand(0, 10.0), wild, stand(40, 11.0)) == [1.0]
    assert deltas(stand(0, 10.0), stand(20, 10.5, "stale"), stand(40, 11.0)) == [1.0]


def test_an_exchange_to_a_higher_stand_is_seen_by_the_meters_identity() -> None:
    before = stand(0, 100.0, serial="A1"), stand(10, 101.0, serial="A1")
    after = stand(70, 8_000.0, serial="B2"), stand(80, 8_002.0, serial="B2")
    assert deltas(*before, *after) == [1.0, 2.0]
    _, carry = reduce_windows(before, WIDTH, KINDS, Carry())
    assert deltas(*after, carry=Carry.from_bytes(carry.to_bytes())) == [2.0]


def test_a_counter_has_a_last_value_and_no_mean() -> None:
    (window,), _ = reduce_windows([stand(0, 1), stand(1, 2)], WIDTH, KINDS, Carry())
    assert (window.last, window.mean, window.low, window.high) == (2, None, None, None)


def test_the_carry_forgets_counters_that_the_site_no_longer_has() -> None:
    _, carry = reduce_windows([stand(0, 1.0)], WIDTH, KINDS, Carry())
    assert carry.stands
    _, carry = reduce_windows([], WIDTH, {}, carry)
    assert not carry.stands


def test_a_carry_of_another_format_is_empty() -> None:
    for stored in (b"", b"{}", b'{"v":99}', b"[1]", b"\xff", b'{"v":1,"stands":[],"meters":{}}'):
        assert Carry.from_bytes(stored) == Carry()
    _, carry = reduce_windows([stand(0, 2**60)], WIDTH, KINDS, Carry())
    assert carry.to_bytes() == Carry.from_bytes(carry.to_bytes()).to_bytes()
