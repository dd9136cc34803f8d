import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamppost.acquire.schedule import Beat, Schedule, phases


def test_beats_come_at_their_time_and_never_drift() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 0.1, 50.0)
    for n in range(10_000):
        late = 0.03 * (n % 3)
        assert schedule.next() == 50.0 + n * 0.1
        assert schedule.take(schedule.next() - 1e-6) is None
        beat = schedule.take(50.0 + n * 0.1 + late)
        assert beat == Beat("a", 50.0 + n * 0.1, 0)
    assert schedule.skipped == 0


def test_late_beats_are_skipped_and_counted_and_the_grid_stays() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 1.0, 10.0)
    assert schedule.take(13.5) == Beat("a", 13.0, 3)
    assert schedule.next() == 14.0
    assert schedule.take(13.9) is None
    assert schedule.skipped == 3


def test_the_longest_waiting_goes_first_so_nobody_starves_under_overload() -> None:
    schedule: Schedule[str] = Schedule()
    for name, period in (("fast", 0.1), ("slow", 5.0), ("other", 1.0)):
        schedule.add(name, period, 0.0)
    taken = {"fast": 0, "slow": 0, "other": 0}
    now = 0.0
    for _ in range(300):  # each reading takes a second, far too long for all of this
        beat = schedule.take(now)
        assert beat is not None
        taken[beat.key] += 1
        now += 1.0
    assert taken["slow"] == pytest.approx(60, abs=2)
    assert min(taken.values()) >= 58


def test_hurry_adds_one_beat_and_leaves_the_grid() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 600.0, 100.0)
    schedule.take(100.0)
    schedule.hurry("a", 130.0)
    assert schedule.next() == 130.0
    assert schedule.take(130.0) == Beat("a", 130.0, 0)
    assert schedule.take(699.0) is None
    assert schedule.take(700.0) == Beat("a", 700.0, 0)
    schedule.hurry("a", 1400.0)  # already due: nothing to hurry
    assert schedule.take(1400.0) == Beat("a", 1300.0, 0)
    assert schedule.take(1400.0) is None


def test_empty_and_wrong() -> None:
    schedule: Schedule[str] = Schedule()
    assert schedule.next() == math.inf
    assert schedule.take(1e9) is None
    schedule.add("a", 1.0, 0.0)
    with pytest.raises(ValueError):
        schedule.add("a", 1.0, 0.0)
    with pytest.raises(ValueError):
        schedule.add("b", 0.0, 0.0)


def test_phases_spread_equal_periods() -> None:
    assert phases([1.0, 1.0, 10.0, 1.0, 1.0, 10.0]) == [0, 0.25, 0, 0.5, 0.75, 5.0]
    assert phases([1.0, 2.0], offset=0.5) == [0.5, 1.0]


@settings(deadline=None)  # a slow machine is no failure
@given(
    st.lists(st.floats(0.1, 100), min_size=1, max_size=6),
    st.lists(st.floats(0, 50), min_size=1, max_size=40),
)
def test_taken_and_skipped_account_for_every_beat(periods: list[float], steps: list[float]) -> None:
    schedule: Schedule[int] = Schedule()
    for key, period in enumerate(periods):
        schedule.add(key, period, 0.0)
    now, counted = 0.0, [0] * len(periods)
    for step in steps:
        now += step
        while (beat := schedule.take(now)) is not None:
            assert beat.deadline <= now < beat.deadline + periods[beat.key] * (1 + 1e-9)
            counted[beat.key] += 1 + beat.skipped
    for key, period in enumerate(periods):
        assert counted[key] == pytest.approx(math.floor(now / period) + 1, abs=1)
        assert schedule.due(key) > now
    assert schedule.next() == min(schedule.due(key) for key in range(len(periods)))
