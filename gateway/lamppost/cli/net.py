"""`lamppost net`: the way from here to the hub, step by step, and the mobile modem's stage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamppost.cli.bus import reached

if TYPE_CHECKING:
    from lamppost.diagnosis.facts import Facts


@click.group()
def command() -> None:
    """The way to the hub: check, modem."""


@command.command()
@reached
@click.option("--every", help="look again and again, such as 10s; Ctrl-C ends it")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.net-check/1")
def check(socket: Path, state: Path, site: Path, every: str | None, as_json: bool) -> None:
    """Cable, address, route, name, port: the first step that fails is the fault."""
    from lamppost.cli.bus import seconds_of
    from lamppost.clock import SystemClock

    pace = seconds_of(every) if every else 0.0
    clock = SystemClock()
    while True:
        due = clock.monotonic() + pace
        code = _check(socket, state, site, as_json=as_json)
        if not pace:
            break
        asyncio.run(clock.sleep_until(due))
    if code:
        raise SystemExit(code)


def _check(socket: Path, state: Path, site: Path, *, as_json: bool) -> int:
    from lamppost.cli.looks import look

    return look(
        "lamppost.net-check/1", ["net"], net_rows, _net_well,
        socket=socket, state=state, site=site, as_json=as_json, tries=5,
    )  # fmt: skip


def net_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """One row a step."""
    net = facts.net
    if net is None:
        return
    for each in net.interfaces:
        said = "connected" if each.carrier else "no carrier"
        addresses = f", {', '.join(each.addresses)}" if each.addresses else ", no address"
        yield each.name, said + (addresses if each.carrier else "")
    yield "route", f"default over {net.default_route}" if net.default_route else "no default route"
    if net.host:
        yield "name", f"{net.host} is {', '.join(net.addresses) or net.name_fault or 'unknown'}"
    opened = [dial.ms for dial in net.dials if dial.outcome == "open"]
    if opened:
        times = f"{min(opened):.0f} to {max(opened):.0f} ms"
        yield "port", f"{net.port} answers, {len(opened)} of {len(net.dials)} times, {times}"
    elif net.dials:
        yield "port", f"{net.port}: {net.dials[-1].why or net.dials[-1].outcome}"
    if net.web is not None:
        yield "web", f"{net.web.port}: {net.web.why or 'answers'}"


def _net_well(facts: Facts) -> str:
    net = facts.net
    return f"{net.host} port {net.port} answers" if net and net.host else "no hub in the site file"


@command.command()
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.net-modem/1")
def modem(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """At which stage the mobile modem stands, and its signal."""
    from lamppost.cli.looks import look

    code = look(
        "lamppost.net-modem/1", ["modem"], _modem_rows, _modem_well,
        socket=socket, state=state, site=site, as_json=as_json,
    )  # fmt: skip
    if code:
        raise SystemExit(code)


def _modem_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    modem = facts.modem
    if modem is None:
        yield "modem", "no ModemManager on this machine"
    elif not modem.present:
        yield "modem", "ModemManager sees none"
    else:
        yield "state", modem.state + (f", {modem.failed}" if modem.failed else "")
        yield "sim", f"asks for {modem.lock}" if modem.lock not in ("", "none") else "unlocked"
        yield (
            "network",
            f"{modem.operator or '-'}, {modem.registration or '-'}, {modem.access or '-'}",
        )
        yield "signal", f"{modem.signal} %" if modem.signal is not None else "unknown"


def _modem_well(facts: Facts) -> str:
    modem = facts.modem
    if modem is None or not modem.present:
        return "no modem is used"
    return f"connected in {modem.operator or 'an unnamed network'}, signal {modem.signal} %"
