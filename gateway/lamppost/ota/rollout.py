"""When is it this gateway's turn? The signed terms of a roll-out, and the place that a hash gives a gateway. Pure."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from lamppost.ota.refusal import ConfigRefused

MAX_STEPS = 16
PLACES = 10_000
RAMP = 3600  # seconds


@dataclass(frozen=True, slots=True)
class Step:
    """From `at` (UTC seconds) on, so many of 10,000 gateways may take it (signed JSON knows no fractions)."""

    share: int
    at: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the approvers signed beside a configuration. `until` (UTC seconds): halted before then, who took it goes
    back. `urgent` does not wait for a maintenance window; `again` tries a content that failed here before.
    """

    serial: int
    rollout: str
    steps: tuple[Step, ...]
    until: int = 0
    urgent: bool = False
    again: bool = False


def place_of(rollout: str, gateway: str) -> int:
    """Where in a roll-out a gateway stands, from 0 up to 10,000; different in each roll-out."""
    digest = hashlib.sha256(f"{rollout}\n{gateway}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % PLACES


def turn(terms: Terms, gateway: str) -> int | None:
    """UTC seconds from which the gateway may take it; None where no step reaches it.

    The gateways of a step do not begin at once but, in the order of their places, within RAMP or half the time to the
    next step: a fault then shows while few have it. A roll-out of a single step has no ramp.
    """
    place, below = place_of(terms.rollout, gateway), 0
    for step, after in itertools.zip_longest(terms.steps, terms.steps[1:]):
        if place < step.share:
            ramp = min(RAMP, (after.at - step.at) // 2) if after else RAMP
            if len(terms.steps) == 1 or step.share <= below:
                ramp = 0
            return step.at + ramp * (place - below) // max(step.share - below, 1)
        below = step.share
    return None


def read_terms(custom: object) -> Terms:
    """The terms from a target's custom members. Raises ConfigRefused `ota.schedule`."""
    if not isinstance(custom, Mapping):
        raise _refused("there is none")
    serial, rollout, steps = custom.get("serial"), custom.get("rollout"), custom.get("steps")
    if type(serial) is not int or not 0 < serial < 2**53:
        raise _refused("serial is no positive number")
    if not isinstance(rollout, str) or not 0 < len(rollout) <= 64:
        raise _refused("rollout is no name")
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise _refused(f"steps are no list of 1 to {MAX_STEPS}")
    until, urgent, again = custom.get("until", 0), custom.get("urgent"), custom.get("again")
    if type(until) is not int or until < 0:
        raise _refused("until is no time")
    if not {type(urgent), type(again)} <= {bool, type(None)}:
        raise _refused("urgent and again are true or false")
    return Terms(
        serial, rollout, tuple(_step(step) for step in steps), until, bool(urgent), bool(again)
    )


def _step(step: object) -> Step:
    if not isinstance(step, list) or len(step) != 2:
        raise _refused("a step is [share, time]")
    share, at = step
    if type(share) is not int or not 0 < share <= PLACES:
        raise _refused(f"a share is 1 to {PLACES}")
    if type(at) is not int or at < 0:
        raise _refused("a step's time is a number of seconds")
    return Step(share, at)


def _refused(why: str) -> ConfigRefused:
    return ConfigRefused("ota.schedule", f"the roll-out schedule is refused: {why}")
