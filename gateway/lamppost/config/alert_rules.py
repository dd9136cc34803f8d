"""What must fit together in the alert rules of a site: devices, points, numbers that can flap, privacy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lamppost.config.problems import Problem, nearest, shown
from lamppost.config.schema import (
    AlertRule,
    DeviceSettings,
    RateRule,
    SilenceRule,
    Site,
    StuckRule,
    ThresholdRule,
)
from lamppost_drivers.contract import Driver

MAX_RULES = 500
READINGS_IN = 2  # an interval that is watched holds at least so many readings


def rule_problems(site: Site, drivers: Sequence[Driver | None]) -> Iterator[Problem]:
    """All that is wrong between rules and devices. `drivers` are those of `site.device`, None for unknown ones."""
    if len(site.alert) > MAX_RULES:
        yield Problem("alert", str(len(site.alert)), f"at most {MAX_RULES} rules")
    devices = {d.name: (d, driver) for d, driver in zip(site.device, drivers, strict=True)}
    first: dict[str, int] = {}
    for index, rule in enumerate(site.alert):
        key = f"alert[{index}]"
        if first.setdefault(rule.name, index) != index:
            reason = f"already taken by alert[{first[rule.name]}]"
            yield Problem(f"{key}.name", shown(rule.name), reason)
        yield from _numbers(key, rule)
        found = devices.get(rule.device)
        if found is None:
            near = nearest(rule.device, devices)
            yield Problem(f"{key}.device", shown(rule.device), "no device of that name", near)
            continue
        yield from _on_device(key, rule, *found)


def _on_device(
    key: str, rule: AlertRule, device: DeviceSettings, driver: Driver | None
) -> Iterator[Problem]:
    if driver is not None and rule.point:
        read = list(device.points or [p.name for p in driver.points])
        if rule.point not in read:
            reason = f"device {device.name} does not read such a point"
            yield Problem(f"{key}.point", shown(rule.point), reason, nearest(rule.point, read))
    if device.personal and not isinstance(rule, SilenceRule):
        reason = f"device {device.name} is personal: only silence may be told of it at once"
        yield Problem(f"{key}.kind", shown(rule.kind), reason)
    slowest = max([device.every, *device.poll.values()])
    named, watched = _watched(rule)
    if watched is not None and watched < READINGS_IN * slowest:
        reason = (
            f"device {device.name} is read every {slowest:g}s; at least {READINGS_IN * slowest:g}s"
        )
        yield Problem(f"{key}.{named}", f"{watched:g}s", reason)


def _watched(rule: AlertRule) -> tuple[str, float | None]:
    """The interval in which a rule must see several readings."""
    if isinstance(rule, RateRule):
        return "over", rule.over
    if isinstance(rule, StuckRule | SilenceRule):
        return "after", rule.after
    return "", None


def _numbers(key: str, rule: AlertRule) -> Iterator[Problem]:
    """One direction, and an end that lies apart from the beginning: else every wobble is an alert."""
    if isinstance(rule, ThresholdRule):
        yield from _one_of(key, {"above": rule.above, "below": rule.below})
        if rule.above is not None and rule.clear >= rule.above:
            reason = f"must be less than above ({rule.above:g}), or it flaps"
            yield Problem(f"{key}.clear", f"{rule.clear:g}", reason)
        elif rule.below is not None and rule.above is None and rule.clear <= rule.below:
            reason = f"must be greater than below ({rule.below:g}), or it flaps"
            yield Problem(f"{key}.clear", f"{rule.clear:g}", reason)
    elif isinstance(rule, RateRule):
        yield from _one_of(key, {"rise": rule.rise, "fall": rule.fall})
        change = rule.rise if rule.rise is not None else rule.fall
        if change is not None and rule.clear is not None and rule.clear >= change:
            reason = f"must be less than the change ({change:g}), or it flaps"
            yield Problem(f"{key}.clear", f"{rule.clear:g}", reason)


def _one_of(key: str, given: Mapping[str, float | None]) -> Iterator[Problem]:
    set_ = [name for name, value in given.items() if value is not None]
    if len(set_) != 1:
        reason = f"write one of {' and '.join(given)}"
        yield Problem(f"{key}.{set_[-1] if set_ else next(iter(given))}", "", reason)
