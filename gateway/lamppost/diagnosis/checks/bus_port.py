"""A link that could not be opened: the port, its name, its holder; or a host that does not answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamppost.diagnosis.facts import Line, Port
from lamppost.findings import Finding, found


def check(line: Line, ports: Sequence[Port]) -> Iterator[Finding]:
    """By the code of the LinkError."""
    if line.kind.endswith("-tcp"):
        yield _host(line)
    elif line.code == "link.not-installed":
        yield found(
            "bus.library-missing", line.link, where=line.where, why=line.why, extra=line.kind
        )
    elif line.kind == "ble":
        which = "bus.ble-deaf" if line.code == "link.silent" else "bus.ble-missing"
        yield found(which, line.link, where=line.where, why=line.why)
    elif line.kind == "gpio" and line.code == "link.missing":
        yield found("bus.gpio-missing", line.link, where=line.where, why=line.why)
    elif line.kind == "gpio" and line.code != "link.permission":
        yield found("bus.pin-busy", line.link, where=line.where, why=line.why)
    else:
        yield _port(line, ports)


def _host(line: Line) -> Finding:
    host, _, port = line.where.rpartition(":")
    which = "bus.host-unreachable"
    if line.code == "link.lost":
        which = "bus.host-hangs-up"
    elif "refused" in line.why.lower():
        which = "bus.port-refused" if line.kind == "modbus-tcp" else "bus.converter-refused"
    why = line.why.removeprefix(f"{line.where}: ")
    return found(which, line.link, link=line.link, where=line.where, host=host, port=port, why=why)


def console(line: Line, ports: Sequence[Port]) -> Finding | None:
    """Whether the system itself uses this port. It may open all the same, and then nobody answers on it."""
    here = (line.where, line.node)
    used = next((p for p in ports if p.use and (p.name in here or p.node in here)), None)
    if used is None:
        return None
    return found("bus.port-console", line.link, where=line.where, use=used.use, proof=used.proof)


def _port(line: Line, ports: Sequence[Port]) -> Finding:
    if (taken := console(line, ports)) is not None:
        return taken
    if line.code == "link.busy":
        holder = line.holder or "another process"
        return found("bus.port-busy", line.link, where=line.where, holder=holder)
    if line.code == "link.permission":
        group = line.group or "dialout"
        where = line.why.partition(":")[0] if line.kind == "gpio" else line.where
        return found("bus.port-permission", line.link, where=where, group=group)
    if line.code == "link.settings":
        return found(
            "bus.port-settings", line.link, link=line.link, where=line.where, line=line.line
        )
    free = [port for port in ports if not port.holder and not port.use]
    if len(free) == 1 and "/" in line.where:
        other = free[0].name
        return found("bus.port-renamed", line.link, link=line.link, where=line.where, other=other)
    present = ", ".join(port.name for port in ports[:4]) or "no serial port at all"
    return found("bus.port-missing", line.link, where=line.where, present=present)
