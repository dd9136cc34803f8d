"""All checks over all facts, the findings in order, and the exit code that they lead to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lamppost.diagnosis.checks import (
    buffer,
    bus,
    clock,
    config,
    host,
    modem,
    net,
    power,
    sensors,
    storage,
    trust,
    uplink,
)
from lamppost.diagnosis.facts import Facts
from lamppost.findings import AREAS, Finding

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: Mapping[str, Check] = {
    "host": host.check,
    "power": power.check,
    "storage": storage.check,
    "clock": clock.check,
    "net": net.check,
    "modem": modem.check,
    "uplink": uplink.check,
    "trust": trust.check,
    "config": config.check,
    "buffer": buffer.check,
    "bus": bus.check,
    "sensors": sensors.check,
}

EXITS: Mapping[str, int] = {
    "host.daemon-down": 3,
    "host.daemon-hung": 6,
    "host.no-permission": 5,
    "bus.port-busy": 4,
    "bus.pin-busy": 4,
    "bus.port-permission": 5,
}
EXITS_BY_AREA: Mapping[str, int] = {"config": 7, "trust": 8}
"""The same numbers as `cli.main` gives to errors; all other problems are 1."""


def judge(facts: Facts, areas: Sequence[str] = AREAS) -> list[Finding]:
    """What is wrong, the most important first. Findings that say the same of the same thing come once."""
    seen: dict[tuple[str, str], Finding] = {}
    for area in areas:
        for each in CHECKS[area](facts):
            seen.setdefault((each.id, each.subject), each)
    return sorted(seen.values(), key=lambda each: each.rank)


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those because of which the gateway does not do its job."""
    return [each for each in findings if not each.is_warning]


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without problems, else by the first one."""
    wrong = problems(findings)
    if not wrong:
        return 0
    first = wrong[0]
    area = first.id.partition(".")[0]
    return EXITS.get(first.id) or EXITS_BY_AREA.get(area, 1)


def unseen(facts: Facts, areas: Sequence[str] = AREAS) -> list[str]:
    """Areas of which nothing could be seen here: they are neither well nor wrong."""
    site = facts.config is not None and not (facts.config.why or facts.config.problems)
    seen = {
        "host": facts.host or facts.daemon,
        "power": facts.power is not None,
        "storage": facts.mounts,
        "clock": facts.clock,
        "net": facts.net and (facts.net.host or facts.net.interfaces),
        "modem": facts.modem is not None and (facts.modem.wanted or facts.modem.present),
        "uplink": facts.status or facts.tls,
        "trust": facts.trust,
        "config": facts.config,
        "buffer": facts.status or facts.buffer,
        "bus": facts.status or facts.lines or (site and facts.lines),
        "sensors": facts.status and not _unheard(facts.status),
    }
    return [area for area in areas if not seen[area]]


def _unheard(status: Mapping[str, Any]) -> bool:
    """Whether the daemon hears nothing of some device: what it measures cannot be called well then."""
    return any(device.get("state") == "dead" for device in status.get("devices", ()))
