""" "5%@now,25%@+1d,100%@+2d" → the steps of a roll-out. Pure. The gateway's side of it is `lamppost.ota.rollout`."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import TypeAlias

from lamppost_hub.publish.refusal import PublishError

Steps: TypeAlias = list[list[int]]

_STEP = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%\s*@\s*(\S+)\s*")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
PLACES = 10_000  # signed JSON knows no fractions
RAMP = 3600  # seconds in which the gateways of a step begin one after another


def read_steps(text: str, utc: int) -> Steps:
    """[[share of 10,000, UTC seconds]…], both rising. Times: `now`, `+2h`, or `2026-11-24T03:00Z`.

    Raises PublishError `publish.schedule`.
    """
    steps: Steps = []
    for part in text.split(","):
        found = _STEP.fullmatch(part)
        if found is None:
            raise PublishError("publish.schedule", f"{part.strip()!r} is no step")
        steps.append([round(float(found[1]) * 100), _at(found[2], utc)])
    rising = all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(steps))
    if not rising or not steps[0][0] > 0 or steps[-1][0] > PLACES:
        raise PublishError("publish.schedule", f"{text!r} does not rise from above 0 % to 100 %")
    return steps


def span(text: str) -> int:
    """`"1d"` as seconds. Raises PublishError `publish.schedule`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d)", text)
    if found is None:
        raise PublishError("publish.schedule", f"{text!r} is no time span such as 1d or 90min")
    return round(float(found[1]) * _UNITS[found[2]])


def _at(text: str, utc: int) -> int:
    if text == "now":
        return utc // 10**9
    if text.startswith("+"):
        return utc // 10**9 + span(text[1:])
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise PublishError("publish.schedule", f"{text!r} is no time") from None
    if moment.tzinfo is None:
        raise PublishError("publish.schedule", f"{text!r} names no time zone; write Z for UTC")
    return int(moment.timestamp())


def too_late(steps: Sequence[Sequence[int]], utc: int) -> bool:
    """Whether two steps have come due while it was signed: they would fall together."""
    return len(steps) > 1 and utc // 10**9 >= steps[1][1]


def place_of(rollout: str, gateway: str) -> int:
    """Where in a roll-out a gateway stands, 0 up to 10,000: as the gateway itself computes it."""
    digest = hashlib.sha256(f"{rollout}\n{gateway}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % PLACES


def due(steps: Sequence[Sequence[int]], rollout: str, gateway: str) -> int | None:
    """UTC seconds from which a gateway may take it; None where no step reaches it: as the gateway computes it."""
    place, below = place_of(rollout, gateway), 0
    for (share, at), after in itertools.zip_longest(steps, steps[1:]):
        if place < share:
            ramp = min(RAMP, (after[1] - at) // 2) if after else RAMP
            ramp = 0 if len(steps) == 1 else ramp
            return at + ramp * (place - below) // (share - below)
        below = share
    return None
