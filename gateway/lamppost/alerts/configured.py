"""The rules of a site file as values of this package."""

from __future__ import annotations

from lamppost.alerts.rules import Kind, Rate, Rule, Silence, Stuck, Threshold
from lamppost.config.schema import AlertRule, RateRule, Site, StuckRule, ThresholdRule


def rules_of(site: Site) -> list[Rule]:
    """In the order of the file, which `config.alert_rules` has checked."""
    return [_rule(rule) for rule in site.alert]


def _rule(rule: AlertRule) -> Rule:
    hold, clear_hold = _holds(rule)
    return Rule(
        name=rule.name,
        device=rule.device,
        point=rule.point,
        kind=_kind(rule),
        severity=rule.severity,
        category=rule.category,
        text=rule.description,
        hold=hold,
        clear_hold=clear_hold,
        repeat=_ns(rule.repeat),
    )


def _holds(rule: AlertRule) -> tuple[int, int]:
    if isinstance(rule, ThresholdRule | RateRule):
        return _ns(rule.hold), _ns(rule.clear_hold)
    return 0, 0


def _kind(rule: AlertRule) -> Kind:
    if isinstance(rule, ThresholdRule):
        limit = rule.below if rule.above is None else rule.above
        assert limit is not None  # one of the two is given
        return Threshold(limit, rule.clear, up=rule.above is not None)
    if isinstance(rule, RateRule):
        change = rule.fall if rule.rise is None else rule.rise
        assert change is not None
        clear = change / 2 if rule.clear is None else rule.clear
        return Rate(change, clear, _ns(rule.over), up=rule.rise is not None)
    if isinstance(rule, StuckRule):
        return Stuck(_ns(rule.after), rule.tolerance)
    return Silence(_ns(rule.after))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
