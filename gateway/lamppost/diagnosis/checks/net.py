"""The way out, step by step: the first step that fails is the fault, what lies behind it says nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts, Net
from lamppost.findings import Finding, found

_SLOW_MS = 1500.0


def check(facts: Facts) -> Iterator[Finding]:
    """Carrier, address, route, name, port."""
    net = facts.net
    if net is None:
        return
    if any(dial.outcome == "open" for dial in net.dials):
        yield from _quality(net)
        return
    step = _local(net) or _name(net) or _far(net)
    if step is not None:
        yield step


def _is_local(net: Net) -> bool:
    """A hub on this machine or a direct cable needs no route out."""
    return any(address.startswith(("127.", "::1")) for address in net.addresses)


def _local(net: Net) -> Finding | None:
    if _is_local(net) or not net.host:
        return None
    if net.interfaces and not any(each.carrier for each in net.interfaces):
        return found("net.no-link", interfaces=", ".join(i.name for i in net.interfaces))
    up = [each for each in net.interfaces if each.carrier]
    if up and not any(each.addresses for each in up):
        return found("net.no-address", interfaces=", ".join(i.name for i in up))
    unroutable = not net.default_route and all(d.outcome != "refused" for d in net.dials)
    if net.interfaces and unroutable:
        addresses = ", ".join(a for i in up for a in i.addresses) or "none"
        return found("net.no-route", addresses=addresses)
    return None


def _name(net: Net) -> Finding | None:
    if net.name_fault:
        return found("net.no-dns", host=net.host, why=net.name_fault)
    return None


def _far(net: Net) -> Finding | None:
    if not net.dials:
        return None
    last, web = net.dials[-1], net.web
    answers = web is not None and web.outcome in ("open", "refused")
    if last.outcome == "timeout" and web is not None and answers:
        return found(
            "net.port-blocked", host=net.host, port=net.port, other=web.port, why="no answer"
        )
    if last.outcome == "refused":
        return found("net.refused", host=net.host, port=net.port)
    return found("net.hub-unreachable", host=net.host, port=net.port, why=last.why or last.outcome)


def _quality(net: Net) -> Iterator[Finding]:
    good = [dial.ms for dial in net.dials if dial.outcome == "open"]
    failed = len(net.dials) - len(good)
    median = statistics.median(good)
    if len(net.dials) > 1 and (failed or median > _SLOW_MS):
        yield found(
            "net.lossy",
            median=f"{median:.0f}",
            worst=f"{max(good):.0f}",
            failed=failed,
            tries=len(net.dials),
        )
