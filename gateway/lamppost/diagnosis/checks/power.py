"""The supply, by the flags of the Raspberry Pi's firmware (`vcgencmd get_throttled`)."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts
from lamppost.findings import Finding, found

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
WAS = 16
"""Each flag stands again so many bits higher, as "has happened since the start"."""


def check(facts: Facts) -> Iterator[Finding]:
    """Weak now, weak before, or slowed down by heat."""
    flags = facts.power
    if flags is None:
        return
    shown = f"{flags:#x}"
    if flags & UNDER_VOLTAGE:
        yield found("power.under-voltage", flags=shown)
    elif flags & UNDER_VOLTAGE << WAS:
        yield found("power.was-under-voltage", flags=shown)
    # A weak supply lowers the speed too: heat is named only where nothing says under-voltage.
    if flags & (THROTTLED | SOFT_LIMIT) and not flags & (UNDER_VOLTAGE | UNDER_VOLTAGE << WAS):
        yield found("power.throttled", flags=shown)
