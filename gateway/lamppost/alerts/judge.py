"""All rules of a site, each with its state: samples and time in, alerts raised and cleared out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from lamppost.alerts.limit import BURST, Limit
from lamppost.alerts.rules import Rule, Silence, condition_of
from lamppost.model import Alert, Instant, Reading, Sample, Severity

UNUSABLE = frozenset({"maintenance", "simulated", "stale"})
"""Uncertain readings that say nothing about the place that is watched."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A rule whose alert is raised, for status: since when, and how often it changed without being sent."""

    rule: Rule
    since: Instant
    value: float | None
    flapping: bool


class _Watch:
    """One rule at work. `raised` is what was said last; `holds` is what is true now."""

    def __init__(self, rule: Rule, ns: int) -> None:
        self.rule = rule
        self.raised = False
        self.since = Instant("", 0)
        self.value: float | None = None
        self.unsent = 0
        self.limit = Limit(rule.repeat)
        self._holds = False
        self._turn: int | None = None  # since when the condition says the opposite of `_holds`
        self._eye = condition_of(rule.kind, ns)

    def see(self, ns: int, value: float | None) -> None:
        """A usable reading of the point."""
        if not self.raised and value is not None:
            self.value = value
        self._step(ns, self._eye.see(ns, value), value)

    def wait(self, ns: int) -> None:
        """Time passed."""
        said = self._eye.wait(ns)
        if said is not None:
            self._step(ns, said, None)

    def _step(self, ns: int, said: bool | None, value: float | None) -> None:
        if said is None or said == self._holds:
            self._turn = None
            return
        self._turn = ns if self._turn is None else self._turn
        needed = self.rule.hold if said else self.rule.clear_hold
        if ns - self._turn >= needed:
            self._holds, self._turn = said, None
            self.unsent += self.raised and said
            if value is not None:
                self.value = value

    def speak(self, at: Instant) -> Alert | None:
        """What has to be said now, if anything: a raise at once, its end when the rule has been quiet enough."""
        if self._holds == self.raised:
            return None
        if not self._holds and not self.limit.left(at.ns):
            return None
        if self._holds:
            self.limit.spend(at.ns)
            self.since = at
        self.raised = self._holds
        said = self._alert(at, self.raised)
        self.unsent = 0
        return said

    def adopt(self, stored: Mapping[str, Any]) -> None:
        """Go on where an earlier process stopped: what was raised stays so until its end is seen."""
        boot, ns = stored["since"]
        value = None if stored["value"] is None else float(stored["value"])
        raised, left = bool(stored["raised"]), int(stored["left"])
        self.raised = self._holds = raised
        self.since, self.value = Instant(str(boot), int(ns)), value
        self.limit = Limit(self.rule.repeat, left)

    def _alert(self, at: Instant, raised: bool, why: str = "") -> Alert:
        rule = self.rule
        return Alert(
            rule=rule.name,
            device=rule.device,
            point=rule.point,
            at=at,
            since=self.since,
            raised=raised,
            severity=rule.severity,
            category=rule.category,
            text=rule.text,
            value=self.value,
            unsent=self.unsent,
            why=why,
        )

    def gone(self, at: Instant) -> Alert:
        """The end of an alert whose rule is no more."""
        return self._alert(at, raised=False, why="rule removed")

    def plain(self, ns: int) -> dict[str, Any]:
        """What `adopt` takes."""
        return {
            "device": self.rule.device,
            "raised": self.raised,
            "since": [self.since.boot, self.since.ns],
            "value": self.value,
            "left": self.limit.left(ns),
            "severity": self.rule.severity,
            "category": self.rule.category,
        }


class Judge:
    """Judges samples by rules. `began` is when watching begins: silence is counted from there."""

    def __init__(self, rules: Iterable[Rule], began: Instant) -> None:
        self._began = began
        self._watches = [_Watch(rule, began.ns) for rule in rules]
        self._by_device: dict[str, list[_Watch]] = {}
        for watch in self._watches:
            self._by_device.setdefault(watch.rule.device, []).append(watch)

    def restore(self, stored: Mapping[str, Any]) -> list[Alert]:
        """Take over the state that `plain` gave before a restart; ends of alerts whose rule or device is gone.

        State that cannot be read is left out: such a rule begins quiet.
        """
        ends: list[Alert] = []
        known = {watch.rule.name: watch for watch in self._watches}
        for name, state in stored.items():
            watch = known.get(name)
            try:
                if watch is not None and watch.rule.device == state["device"]:
                    watch.adopt(state)
                elif state["raised"] and isinstance(state["device"], str):
                    ends.append(_ended(name, state, self._began))
            except (KeyError, TypeError, ValueError):
                continue
        return ends

    def judge(self, sample: Sample) -> list[Alert]:
        """The alerts that this sample raises or clears."""
        watches = self._by_device.get(sample.device)
        if not watches or sample.at.boot != self._began.boot:
            return []
        readings = {r.point: r for r in sample.readings if _usable(r)}
        said: list[Alert] = []
        for watch in watches:
            reading = readings.get(watch.rule.point)
            if reading is not None:
                watch.see(sample.at.ns, _number(reading))
            elif not watch.rule.point and readings:
                watch.see(sample.at.ns, None)
            else:
                continue
            said += filter(None, [watch.speak(sample.at)])
        return said

    def tick(self, now: Instant) -> list[Alert]:
        """The alerts that time alone raises or clears: silence, and ends that were held back."""
        said: list[Alert] = []
        for watch in self._watches:
            if isinstance(watch.rule.kind, Silence):
                watch.wait(now.ns)
            said += filter(None, [watch.speak(now)])
        return said

    def standing(self) -> list[Standing]:
        """The alerts that are raised now, worst first by the order of the rules."""
        return [
            Standing(w.rule, w.since, w.value, flapping=w.unsent > 0)
            for w in self._watches
            if w.raised
        ]

    def plain(self, now: Instant) -> dict[str, Any]:
        """The state to keep over a restart, by rule; rules that never spoke are left out."""
        return {
            w.rule.name: w.plain(now.ns)
            for w in self._watches
            if w.raised or w.limit.left(now.ns) < BURST
        }


def _ended(name: str, state: Mapping[str, Any], now: Instant) -> Alert:
    rule = Rule(
        name,
        str(state["device"]),
        "",
        Silence(0),
        severity=str(state["severity"]),
        category=str(state["category"]),
    )
    watch = _Watch(rule, now.ns)
    watch.adopt({**state, "value": None})
    return watch.gone(now)


def _usable(reading: Reading) -> bool:
    quality = reading.quality
    return quality.severity is not Severity.BAD and quality.reason not in UNUSABLE


def _number(reading: Reading) -> float | None:
    value = reading.value
    if isinstance(value, (bool, str)) or value is None or not isfinite(value):
        return None
    return float(value)
