"""What single sensors say, by their newest readings and the quality that each was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lamppost.diagnosis.facts import Facts
from lamppost.findings import Finding, found

_FAULTS = ("sensor_fault", "device_fault")
_IMPLAUSIBLE = ("out_of_range", "step", "at_limit")
_SHOWN = 3


def check(facts: Facts) -> Iterator[Finding]:
    """Faults, values that stand still, values that cannot be, counters that ran back."""
    for device in (facts.status or {}).get("devices", ()):
        if device.get("state") == "ok":
            yield from _device(device["name"], device.get("readings") or {})
    by_device: dict[str, list[str]] = {}
    for each in facts.still:
        by_device.setdefault(each["device"], []).append(each["point"])
    for name, points in by_device.items():
        yield found("sensors.stuck", name, device=name, points=_list(points))
    for back in facts.counters:
        yield found(
            "sensors.counter-back",
            back["device"],
            device=back["device"],
            points=back["point"],
            before=back["before"],
            after=back["after"],
        )


def _device(name: str, readings: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = {}
    for point, reading in readings.items():
        by_reason.setdefault(reading["quality"], []).append(point)
    for reason in _FAULTS:
        if points := by_reason.get(reason):
            yield found("sensors.fault", name, device=name, points=_list(points), reason=reason)
    for reason in _IMPLAUSIBLE:
        if points := by_reason.get(reason):
            yield found(
                "sensors.implausible", name, device=name, points=_list(points), reason=reason
            )
    if points := by_reason.get("stuck"):
        yield found("sensors.stuck", name, device=name, points=_list(points))


def _list(points: list[str]) -> str:
    shown = ", ".join(points[:_SHOWN])
    return f"{shown} and {len(points) - _SHOWN} more" if len(points) > _SHOWN else shown
