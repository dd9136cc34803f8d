"""Time. A clock before the floor is proved wrong; all others are only more or less sure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from lamppost.diagnosis.facts import Clock, Facts
from lamppost.findings import Finding, found


def utc_text(ns: int) -> str:
    """UTC nanoseconds as a date and time to the minute."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def is_sound(clock: Clock | None) -> bool:
    """Whether dates may be judged by it."""
    return clock is not None and clock.state in ("synced", "holdover")


def check(facts: Facts) -> Iterator[Finding]:
    """Behind the floor, never set, or on its own for long."""
    clock = facts.clock
    if clock is None:
        return
    if clock.state == "behind-floor":
        yield found("clock.behind-floor", now=utc_text(clock.now), floor=utc_text(clock.floor))
    elif clock.state == "unsynced":
        waits = facts.config is not None and facts.config.unsynced == "wait"
        yield found("clock.unsynced-waits" if waits else "clock.unsynced")
    elif clock.state == "holdover":
        yield found("clock.holdover")
