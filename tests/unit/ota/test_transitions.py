"""The transition table, the functions that follow it, and the page that shows it."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from lamppost.errors import LamppostError
from lamppost.model import Instant
from lamppost.ota import transitions as t
from lamppost.ota.state import (
    KEPT_HISTORY,
    KEPT_REJECTED,
    Baseline,
    Generation,
    State,
    from_bytes,
    to_bytes,
)
from lamppost.ota.transitions import TABLE, Event, Phase
from shared_folder import CHECKOUT

NOW = Instant("boot-1", 5)


def generation(number: int) -> Generation:
    return Generation(number, f"{number:064x}", serial=number)


def staged(state: State) -> State:
    return t.stage(state, generation(state.last + 1), Baseline())


ACTS: dict[Event, Callable[[State], State]] = {
    Event.STAGE: staged,
    Event.HEALTHY: lambda s: t.confirm(s, 1),
    Event.UNHEALTHY: lambda s: t.revert(s, "ota.died", "it did", 1),
    Event.WITHDRAW: lambda s: t.withdraw(s, 1),
    Event.ROLL_BACK: lambda s: t.roll_back(s, 1),
}


def test_the_page_shows_the_table() -> None:
    text = (CHECKOUT / "docs/formats/configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (trial|steady) \| ([^|]+) \| (trial|steady) \|$", text)
    assert {(Phase(a), Event(b)): Phase(c) for a, b, c in rows} == dict(TABLE)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", ACTS)
def test_what_the_table_does_not_know_changes_nothing(phase: Phase, event: Event) -> None:
    state = t.confirm(staged(State()), 0)
    state = staged(state) if phase is Phase.TRIAL else state
    if (phase, event) in TABLE:
        assert t.phase(ACTS[event](state)) is TABLE[phase, event]
    else:
        with pytest.raises(LamppostError) as refused:
            ACTS[event](state)
        assert refused.value.code == "ota.in-trial"


def test_a_long_life_keeps_its_rules() -> None:
    dice = Random(11)
    state, highest = State(), 0
    for _ in range(4000):
        event = dice.choice([*ACTS, Event.STAGE, Event.START])
        try:
            after = t.start(state, NOW, 1) if event is Event.START else ACTS[event](state)
        except (LamppostError, AssertionError):
            continue
        highest = max(highest, after.trial.generation.serial if after.trial else 0)
        assert after.floor == highest, "the floor is the highest serial ever staged"
        assert after.last >= state.last
        assert len(after.rejected) <= KEPT_REJECTED
        assert len(after.history) <= KEPT_HISTORY
        assert after.trial is None or after.trial.starts <= t.MAX_STARTS
        if event in (Event.UNHEALTHY, Event.ROLL_BACK):
            assert after.history[-1].generation.sha256 in after.rejected
        if after.good is not None and event is Event.HEALTHY:
            assert after.good.sha256 not in after.rejected
        assert from_bytes(to_bytes(after, 3)) == (after, 3)
        state = after
    assert highest > 500


def test_a_serial_is_taken_once_and_never_below_the_floor() -> None:
    state = t.confirm(staged(State()), 0)
    good = generation(1).sha256
    assert t.admit(state, 1, good) is False
    assert t.admit(state, 2, "f" * 64) is True
    for serial, sha256, code in ((0, good, "ota.downgrade"), (1, "f" * 64, "ota.serial-reused")):
        with pytest.raises(LamppostError) as refused:
            t.admit(state, serial, sha256)
        assert refused.value.code == code
    failed = t.revert(staged(state), "ota.died", "it did", 0)
    with pytest.raises(LamppostError) as refused:
        t.admit(failed, 3, generation(2).sha256)
    assert refused.value.code == "ota.rejected-before"
    assert t.admit(failed, 3, generation(2).sha256, again=True) is True


@pytest.mark.parametrize("damage", [b"", b"\n", b"{}", b"x" * 64 + b"\n{}\n"])
def test_a_state_that_is_not_whole_is_none(damage: bytes) -> None:
    assert from_bytes(damage) is None
    whole = to_bytes(State(), 1)
    assert from_bytes(whole[:-3]) is None
    assert from_bytes(whole.replace(b'"floor":0', b'"floor":9')) is None
