"""Rules over samples: when an alert is raised, when it is over, and how often it may be said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lamppost.alerts import Judge, Rate, Rule, Silence, Stuck, Threshold
from lamppost.alerts.limit import BURST
from lamppost.alerts.rules import Kind
from lamppost.model import Alert, Instant, Quality, Reading, Sample, Severity

S = 10**9
BOOT = "boot-1"
HIGH = Threshold(limit=2.0, clear=1.5)


class World:
    """A judge with one rule on point "level" of device "well", and a clock in seconds."""

    def __init__(self, kind: Kind = HIGH, *, point: str = "level", **more: Any) -> None:
        self.rule = Rule("flood", "well", point, kind, **more)
        self.judge = Judge([self.rule], Instant(BOOT, 0))

    def read(self, at: float, value: float | str | None, quality: Quality | None = None) -> str:
        reading = Reading("level", value, quality or Quality(Severity.GOOD, "good"))
        sample = Sample("well", Instant(BOOT, round(at * S)), (reading,))
        return said(self.judge.judge(sample))

    def tick(self, at: float) -> str:
        return said(self.judge.tick(Instant(BOOT, round(at * S))))


def said(alerts: list[Alert]) -> str:
    return " ".join("raised" if alert.raised else "cleared" for alert in alerts)


def test_a_level_is_raised_at_its_limit_and_over_at_its_clear_level() -> None:
    world = World()
    levels = (1.0, 1.99, 2.0, 2.5, 1.99, 1.51, 2.2, 1.5, 1.9, 2.0)
    heard = [world.read(at, level) for at, level in enumerate(levels)]
    assert heard == ["", "", "raised", "", "", "", "", "cleared", "", "raised"]


def test_a_lower_limit_is_the_same_upside_down() -> None:
    world = World(Threshold(limit=-5.0, clear=-3.0, up=False))
    levels = (0.0, -4.9, -5.0, -4.0, -3.0)
    assert [world.read(at, level) for at, level in enumerate(levels)] == [
        "", "", "raised", "", "cleared",
    ]  # fmt: skip


def test_hold_times_need_an_unbroken_condition_and_a_sample_that_confirms_it() -> None:
    world = World(hold=10 * S, clear_hold=5 * S)
    assert [world.read(at, 3.0) for at in (0, 9)] == ["", ""]
    assert world.read(9.5, 1.8) == ""  # between the levels: no longer past the limit
    assert [world.read(at, 3.0) for at in (10, 19, 20)] == ["", "", "raised"]
    assert [world.read(at, 1.0) for at in (21, 25)] == ["", ""]
    assert world.read(25.5, 1.8) == ""  # not past the end either
    assert [world.read(at, 1.0) for at in (26, 30.9, 31)] == ["", "", "cleared"]


def test_bad_and_unusable_readings_decide_nothing_and_doubtful_ones_do() -> None:
    world = World()
    assert world.read(0, 9.0, Quality(Severity.BAD, "corrupt")) == ""
    assert world.read(1, 9.0, Quality(Severity.UNCERTAIN, "maintenance")) == ""
    assert [world.read(2, value) for value in (None, "high", float("nan"), True)] == [""] * 4
    assert world.read(3, 9.0, Quality(Severity.UNCERTAIN, "out_of_range")) == "raised"
    assert world.read(4, 0.0, Quality(Severity.BAD, "no_response")) == ""


def test_the_alert_says_what_when_and_by_which_value() -> None:
    world = World()
    (alert,) = world.judge.judge(Sample("well", Instant(BOOT, 7), (Reading("level", 2.5),)))
    assert (alert.rule, alert.device, alert.point) == ("flood", "well", "level")
    assert (alert.at, alert.since, alert.raised) == (Instant(BOOT, 7), Instant(BOOT, 7), True)
    assert (alert.value, alert.severity, alert.unsent) == (2.5, "medium", 0)
    (end,) = world.judge.judge(Sample("well", Instant(BOOT, 9), (Reading("level", 0.5),)))
    assert (end.at, end.since, end.value) == (Instant(BOOT, 9), Instant(BOOT, 7), 0.5)


def test_another_device_or_boot_is_not_judged() -> None:
    world = World()
    assert world.judge.judge(Sample("tank", Instant(BOOT, 0), (Reading("level", 9.0),))) == []
    assert world.judge.judge(Sample("well", Instant("boot-0", 0), (Reading("level", 9.0),))) == []


def test_a_rise_is_seen_within_its_interval_only() -> None:
    world = World(Rate(change=1.0, clear=0.5, over=60 * S))
    slow = [world.read(at, at * 0.01) for at in range(0, 300, 10)]  # 0.6 a minute
    assert slow == [""] * 30
    assert world.read(300, 3.8) == "raised"
    assert [world.read(at, 3.8) for at in (310, 370)] == ["", "cleared"]


def test_a_fall_is_a_rise_upside_down_and_a_new_start_ends_nothing() -> None:
    world = World(Rate(change=5.0, clear=2.0, over=60 * S, up=False))
    world.judge.restore({"flood": {**stored(), "raised": True}})
    assert world.read(0, 100.0) == ""  # not yet a whole interval seen
    assert world.read(30, 94.0) == ""  # still raised, and rightly so
    assert [world.read(at, 94.0) for at in (60, 95)] == ["", "cleared"]


def test_a_rate_keeps_bounded_memory_and_agrees_with_the_plain_definition() -> None:
    chance = random.Random(4)
    over, part = 60.0, 1.0
    world = World(Rate(change=8.0, clear=4.0, over=round(over * S)))
    seen: list[tuple[float, float]] = []
    level, at, raised = 0.0, 0.0, False
    for _ in range(4000):
        at += chance.choice((0.1, 0.5, 1.0, 7.0))
        level += chance.uniform(-1.0, 1.0)
        seen.append((at, level))
        heard = world.read(at, level)
        raised = heard == "raised" or (raised and heard != "cleared")
        certain = level - min(v for t, v in seen if t >= at - over)
        possible = level - min(v for t, v in seen if t >= at - over - part)
        if certain >= 8.0:
            assert raised
        if heard == "raised":
            assert possible >= 8.0
        if heard == "cleared":
            assert certain <= 4.0
    assert len(world.judge._watches[0]._eye._lows) <= 62  # type: ignore[attr-defined]


def test_a_stuck_value_is_told_after_its_time_and_ends_with_the_first_move() -> None:
    world = World(Stuck(after=60 * S, tolerance=0.1))
    heard = [world.read(at, 5.0 + 0.05 * (at % 20 == 0)) for at in range(0, 61, 10)]
    assert heard == [""] * 6 + ["raised"]
    assert world.read(70, 5.3) == "cleared"


def test_time_without_readings_does_not_prove_that_a_value_is_stuck() -> None:
    world = World(Stuck(after=60 * S))
    assert [world.read(at, 5.0) for at in (0, 10, 80, 90, 120, 139, 140)] == [""] * 6 + ["raised"]


def test_silence_is_told_by_time_alone_and_ends_with_the_first_usable_reading() -> None:
    world = World(Silence(after=30 * S))
    assert [world.tick(at) for at in (10, 29)] == ["", ""]
    assert world.read(29.5, None, Quality(Severity.BAD, "no_response")) == ""
    assert world.tick(30) == "raised"
    assert world.tick(31) == ""
    assert world.read(40, 1.0) == "cleared"
    assert [world.tick(at) for at in (69, 70)] == ["", "raised"]


def test_silence_of_a_device_ends_with_any_of_its_points() -> None:
    world = World(Silence(after=30 * S), point="")
    assert world.tick(30) == "raised"
    assert world.read(31, "a text counts too") == "cleared"


def test_a_rule_without_end_is_bounded_and_is_left_raised_while_it_flaps() -> None:
    world = World(repeat=900 * S)
    hour = [world.read(at, 3.0 if at % 2 else 0.0) for at in range(3600)]
    raises = hour.count("raised")
    assert BURST <= raises <= BURST + 4
    assert hour.count("cleared") <= raises
    (standing,) = world.judge.standing()
    assert standing.flapping
    assert [world.read(3600 + at, 0.0) for at in range(1)] == [""]
    ends = [at for at in range(3600, 3600 + 1000) if world.tick(at) == "cleared"]
    assert len(ends) == 1  # quiet at last: the end is said once a raise has come back
    assert world.judge.standing() == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_the_last_word_is_the_truth_and_the_number_of_words_is_bounded(
    seed: int,
) -> None:
    chance = random.Random(seed)
    world = World(repeat=60 * S, hold=chance.choice((0, 2 * S)), clear_hold=chance.choice((0, S)))
    heard: list[str] = []
    at = 0.0
    for _ in range(3000):
        at += chance.choice((0.2, 1.0, 5.0))
        heard.append(world.read(at, chance.choice((0.0, 1.7, 3.0))))
        heard.append(world.tick(at))
    words = [word for word in heard if word]
    assert words == [("raised", "cleared")[n % 2] for n in range(len(words))]
    assert words.count("raised") <= BURST + at / 60
    for step in range(100):  # calm at the end
        words += filter(None, [world.read(at + 2 * step, 0.0), world.tick(at + 2 * step)])
    assert words[-1] == "cleared"


def stored() -> dict[str, object]:
    return {
        "device": "well",
        "raised": True,
        "since": ["boot-0", 5],
        "value": 2.5,
        "left": 2,
        "severity": "high",
        "category": "environment",
    }


def test_a_restart_repeats_nothing_and_ends_what_was_raised_when_its_end_is_seen() -> None:
    before = World()
    before.read(1, 3.0)
    state = before.judge.plain(Instant(BOOT, 2 * S))
    after = World()
    assert after.judge.restore(state) == []
    assert [s.since for s in after.judge.standing()] == [Instant(BOOT, S)]
    assert after.read(3, 3.0) == ""
    assert after.read(4, 1.0) == "cleared"
    assert after.judge.plain(Instant(BOOT, 5 * S)).keys() == {"flood"}  # one raise is spent


def test_an_alert_whose_rule_was_removed_is_ended() -> None:
    world = World()
    ends = world.judge.restore({"old": stored(), "quiet": {**stored(), "raised": False}})
    assert [(e.rule, e.raised, e.since, e.why) for e in ends] == [
        ("old", False, Instant("boot-0", 5), "rule removed")
    ]
    moved = {"flood": {**stored(), "device": "tank"}}
    assert [(e.rule, e.device) for e in world.judge.restore(moved)] == [("flood", "tank")]


@pytest.mark.parametrize("damage", [{}, {"since": 3}, {"left": None}, {"device": []}, []])
def test_state_that_cannot_be_read_begins_quiet(damage: object) -> None:
    world = World()
    state = {**stored(), **damage} if isinstance(damage, dict) and damage else damage
    assert world.judge.restore({"flood": state}) == []
    assert world.read(1, 3.0) == "raised"
