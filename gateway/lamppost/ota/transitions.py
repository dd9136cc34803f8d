"""verified → trial → confirmed or reverted, as a table and pure functions. The diagram in the docs is drawn from it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from lamppost.model import Instant
from lamppost.ota.refusal import ConfigRefused, ConfigUnfit
from lamppost.ota.state import (
    KEPT_HISTORY,
    KEPT_REJECTED,
    Baseline,
    Entry,
    Generation,
    State,
    Trial,
)

MAX_STARTS = (
    2  # a daemon that ended in a trial gets one more try, then the configuration is taken back
)


class Phase(enum.StrEnum):
    """What runs: the last good configuration, or one on trial."""

    STEADY = "steady"
    TRIAL = "trial"


class Event(enum.StrEnum):
    """What can happen to it."""

    STAGE = "staged"
    START = "started"
    WORN_OUT = "started too often"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    WITHDRAW = "halted"
    ROLL_BACK = "rolled back"


TABLE: Mapping[tuple[Phase, Event], Phase] = MappingProxyType(
    {
        (Phase.STEADY, Event.STAGE): Phase.TRIAL,
        (Phase.TRIAL, Event.START): Phase.TRIAL,
        (Phase.TRIAL, Event.WORN_OUT): Phase.STEADY,
        (Phase.TRIAL, Event.HEALTHY): Phase.STEADY,
        (Phase.TRIAL, Event.UNHEALTHY): Phase.STEADY,
        (Phase.TRIAL, Event.WITHDRAW): Phase.STEADY,
        (Phase.TRIAL, Event.ROLL_BACK): Phase.STEADY,
        (Phase.STEADY, Event.WITHDRAW): Phase.STEADY,
        (Phase.STEADY, Event.ROLL_BACK): Phase.STEADY,
    }
)


def phase(state: State) -> Phase:
    """Which phase a state is in."""
    return Phase.TRIAL if state.trial else Phase.STEADY


def admit(state: State, serial: int, sha256: str, *, again: bool = False) -> bool:
    """Whether a verified configuration of the hub is new here; False if it runs or ran already.

    Raises ConfigRefused `ota.downgrade`, `ota.serial-reused` and ConfigUnfit `ota.rejected-before`.
    """
    if serial < state.floor:
        raise ConfigRefused(
            "ota.downgrade", f"serial {serial} is below {state.floor}, which was staged here"
        )
    if serial == state.floor:
        same = [e.generation for e in state.history] + [g for g in (state.good, state.before) if g]
        if all(g.sha256 == sha256 for g in same if g.serial == serial):
            return False
        raise ConfigRefused(
            "ota.serial-reused", f"serial {serial} was staged here with other content"
        )
    if sha256 in state.rejected and not again:
        raise ConfigUnfit("ota.rejected-before", f"serial {serial} has a content that failed here")
    return True


def stage(state: State, generation: Generation, baseline: Baseline) -> State:
    """A whole configuration lies on disk and is tried from the next start on; its serial is the floor from now on."""
    _step(state, Event.STAGE)
    return replace(
        state,
        trial=Trial(generation, baseline),
        floor=max(state.floor, generation.serial),
        last=generation.number,
    )


def start(state: State, now: Instant, utc: int) -> State:
    """The daemon starts. A trial that used up its starts is over."""
    trial = state.trial
    if trial is None:
        return state
    if trial.starts >= MAX_STARTS:
        _step(state, Event.WORN_OUT)
        why = f"started {trial.starts} times, and never stood its trial"
        return _ended(state, "reverted", "ota.died", why, utc)
    _step(state, Event.START)
    began = trial.began if trial.boot == now.boot else now.ns
    return replace(state, trial=replace(trial, starts=trial.starts + 1, boot=now.boot, began=began))


def confirm(state: State, utc: int) -> State:
    """The trial went well: it is the good one, and what was good is one step behind."""
    _step(state, Event.HEALTHY)
    assert state.trial is not None
    good = state.trial.generation
    entry = Entry(good, "confirmed", at=utc)
    kept = tuple(h for h in state.rejected if h != good.sha256)
    return replace(
        state,
        good=good,
        before=state.good,
        trial=None,
        rejected=kept,
        history=_noted(state, entry),
    )


def revert(state: State, code: str, reason: str, utc: int) -> State:
    """The trial failed: back to the good one, and its content is not tried again."""
    _step(state, Event.UNHEALTHY)
    return _ended(state, "reverted", code, reason, utc)


def withdraw(state: State, utc: int) -> State:
    """Its roll-out was halted: back to what ran before. The content may be published again."""
    _step(state, Event.WITHDRAW)
    reason = "its roll-out was halted"
    if state.trial is not None:
        entry = Entry(state.trial.generation, "withdrawn", "ota.withdrawn", reason, utc)
        return replace(state, trial=None, history=_noted(state, entry))
    return _back(state, "withdrawn", "ota.withdrawn", reason, utc)


def roll_back(state: State, utc: int) -> State:
    """Somebody on site goes back one step; what is left behind is not taken again by itself.

    Raises ConfigUnfit `ota.no-previous`.
    """
    if state.trial is None and state.good is None:
        raise ConfigUnfit("ota.no-previous", "the local site file runs, nothing came before it")
    _step(state, Event.ROLL_BACK)
    reason = "rolled back on this gateway"
    if state.trial is not None:
        return _ended(state, "rolled-back", "ota.rolled-back", reason, utc)
    assert state.good is not None
    rejected = (*state.rejected, state.good.sha256)[-KEPT_REJECTED:]
    return _back(replace(state, rejected=rejected), "rolled-back", "ota.rolled-back", reason, utc)


def lost(state: State, reason: str, utc: int) -> State:
    """The good configuration cannot be read or loaded any more: what came before it takes over."""
    return _back(state, "reverted", "ota.damaged", reason, utc)


def _back(state: State, outcome: str, code: str, reason: str, utc: int) -> State:
    assert state.good is not None
    entry = Entry(state.good, outcome, code, reason, utc)
    return replace(state, good=state.before, before=None, history=_noted(state, entry))


def _ended(state: State, outcome: str, code: str, reason: str, utc: int) -> State:
    assert state.trial is not None
    failed = state.trial.generation
    entry = Entry(failed, outcome, code, reason, utc)
    rejected = (*(h for h in state.rejected if h != failed.sha256), failed.sha256)
    return replace(
        state, trial=None, rejected=rejected[-KEPT_REJECTED:], history=_noted(state, entry)
    )


def _noted(state: State, entry: Entry) -> tuple[Entry, ...]:
    return (*state.history, entry)[-KEPT_HISTORY:]


def _step(state: State, event: Event) -> None:
    """Raises ConfigUnfit `ota.in-trial` for what the table does not know."""
    if (phase(state), event) not in TABLE:
        raise ConfigUnfit("ota.in-trial", f"a configuration cannot be {event} in {phase(state)}")
