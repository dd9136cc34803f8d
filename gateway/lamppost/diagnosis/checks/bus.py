"""Links and the devices on them: a line that was examined says more than the daemon's counters, and stands first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamppost.diagnosis.checks import bus_line, bus_told
from lamppost.diagnosis.facts import Facts
from lamppost.findings import Finding


def check(facts: Facts) -> Iterator[Finding]:
    """Examined lines first; of what was not examined, what the daemon says."""
    examined: set[str] = set()
    for line in facts.lines:
        if line.code or line.tested:
            examined.add(line.link)
        yield from bus_line.check(line, facts.ports)
    for bus in _told(facts):
        if bus["name"] not in examined:
            yield from bus_told.check(bus, _devices(facts, bus["name"]), facts.ports)


def _told(facts: Facts) -> list[dict[str, Any]]:
    return list((facts.status or {}).get("buses", ()))


def _devices(facts: Facts, link: str) -> list[dict[str, Any]]:
    return [d for d in (facts.status or {}).get("devices", ()) if d.get("link") == link]
