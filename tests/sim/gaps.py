"""What a scenario's events excuse, and the readings and samples that they do not: for every run of a scenario.

Times are seconds, of one clock in a run. A device is excused from shortly before an event hits it until the event's
end and the time that the way back may take (docs/reference/simulated-hardware.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hwsim.site import seconds_of

UNDER_WAY = 1.5
"""Seconds an exchange may have been under way when an event begins."""
BACK_ALONE, BACK_AMONG_OTHERS = 15.0, 30.0
"""Seconds until a device is back: alone on its link or together with it, or as one silent among others that answer."""
BEGIN_WITHIN = 15.0
BEGINS: Mapping[str, str] = dict.fromkeys(("pm", "co2", "flow", "tag", "garden"), "not_available")
"""What a device may say at first: a fan that starts, a first conversion, a rate that needs two pulses."""
ENDS = {"silence": "revive", "unplug": "plug", "off": "on", "stick": "release", "babble": "hush"}
CALM: Mapping[str, object] = {"bit_error_rate": 0.0, "late_every": 0}


@dataclass(frozen=True)
class Gap:
    """What nothing explains: from when to when, and in words."""

    begin: float
    end: float
    text: str


def excuses(
    device: Mapping[str, Any], events: Sequence[tuple[float, Mapping[str, Any]]], ended: float
) -> list[tuple[float, float]]:
    """When this device may miss: the spans of the events that hit it, each with its way back."""
    spans = []
    for number, (begin, event) in enumerate(events):
        if not (hits(event, device) and begins(event)):
            continue
        ends = (at for at, later in events[number + 1 :] if ends_it(event, later))
        back = BACK_ALONE if event.get("unit") is None else BACK_AMONG_OTHERS
        spans.append((begin - UNDER_WAY, next(ends, ended) + back))
    return spans


def hits(event: Mapping[str, Any], device: Mapping[str, Any]) -> bool:
    """Whether an event reaches a device: its whole link, or itself by unit id, address or pin."""
    unit = event.get("unit")
    mine = [device[key] for key in ("unit", "address", "mac", "pin") if key in device]
    return bool(event["line"] == device["link"] and (unit is None or unit in mine))


def begins(event: Mapping[str, Any]) -> bool:
    """Whether something goes wrong with it, rather than right again."""
    return event["do"] in ENDS or any(event.get(key, calm) != calm for key, calm in CALM.items())


def ends_it(event: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether the later of two events puts right what the first did."""
    same = (event["line"], event.get("unit")) == (later["line"], later.get("unit"))
    return same and (
        later["do"] == ENDS.get(event["do"]) or (later["do"] == event["do"] and not begins(later))
    )


def unexplained(
    device: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    spans: Sequence[tuple[float, float]],
    run: tuple[float, float],
    slack: float,
) -> Iterator[Gap]:
    """Readings that are not good and samples that are missing, where no event and no start explains it.

    A sample has `at`, and `reasons` by point. `slack`: seconds beyond two periods until one is missed.
    """
    name, every = device["name"], seconds_of(device["every"])
    begun, ended = run
    for sample in samples:
        at = sample["at"]
        reasons = set(sample["reasons"].values()) - {"good"}
        if at < begun + BEGIN_WITHIN:
            reasons -= {BEGINS.get(name, "good")}
        if reasons and not any(low <= at <= high for low, high in spans):
            what = ", ".join(sorted(reasons))
            yield Gap(at, at, f"{name}: {what} {at - begun:.1f} s after the start")
    moments = [begun, *(sample["at"] for sample in samples), ended]
    for before, after in pairwise(moments):
        covered = sum(max(0.0, min(after, high) - max(before, low)) for low, high in spans)
        if after - before - covered > 2 * every + slack:
            what = f"nothing for {after - before:.1f} s, {before - begun:.1f} s after the start"
            yield Gap(before, after, f"{name}: {what}")
