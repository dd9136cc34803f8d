"""The gateway program and the computer below it."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts, Host
from lamppost.findings import Finding, found

_HOT = 80.0
_LOW_MEMORY = 0.06
_LOAD_A_CORE = 3.0


def check(facts: Facts) -> Iterator[Finding]:
    """Is it there, does it answer, has it room to breathe?"""
    daemon = facts.daemon
    if daemon is not None:
        if daemon.state == "down":
            unit = f"; systemd says: {daemon.unit}" if daemon.unit else ""
            yield found("host.daemon-down", socket=daemon.socket, unit=unit)
        elif daemon.state == "hung":
            yield found("host.daemon-hung", socket=daemon.socket, seconds=f"{daemon.seconds:g}")
        elif daemon.state == "denied":
            group = daemon.group or "lamppost"
            yield found("host.no-permission", socket=daemon.socket, group=group)
    if facts.host is not None:
        yield from _computer(facts.host)


def _computer(host: Host) -> Iterator[Finding]:
    if host.load > _LOAD_A_CORE * host.cores:
        yield found("host.overloaded", load=f"{host.load:.1f}", cores=host.cores)
    free, total = host.memory_free, host.memory_total
    if free is not None and total and free < _LOW_MEMORY * total:
        yield found("host.low-memory", free=free, total=total)
    if host.celsius is not None and host.celsius >= _HOT:
        yield found("host.hot", celsius=f"{host.celsius:.0f}")
