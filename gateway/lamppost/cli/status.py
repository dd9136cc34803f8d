"""`lamppost status`: one screen, verdict last. Imports nothing heavy: it is there at once on the smallest board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from lamppost.cli.main import exit_code, socket_option, state_option
from lamppost.cli.terminal import note, paint, say, span, width, wrapped
from lamppost.errors import LamppostError
from lamppost.status.control import ask
from lamppost.status.summary import verdict, went_back

_SHOWN = 12
"""Devices in trouble that are shown in full; of a whole bus that is gone, a few say enough."""
_PATIENCE = 3.0


@click.command()
@socket_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.status/1")
def command(socket: Path, state: Path, as_json: bool) -> None:
    """Is this gateway doing its job?"""
    try:
        found = ask(socket, {"do": "status"}, _PATIENCE)
    except LamppostError as error:
        _without(error, state, as_json=as_json)
        raise SystemExit(exit_code(error)) from None
    closing = verdict(found)
    if as_json:
        click.echo(orjson.dumps({**found, "verdict": closing}, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines(found):
            say(line)
        say(paint(closing, "good" if closing.startswith("OK") else "bad"))
    if not closing.startswith("OK"):
        raise SystemExit(1)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The screen but for its verdict: what fails first and in full, what works in a line."""
    hub = found["hub"] or "a context broker"
    yield from wrapped(
        f"{found['gateway']} to {hub}, Lamppost {found['version']}, up {span(found['up_seconds'])}, "
        f"clock {found['clock']}"
    )
    yield from _ring(found)
    yield from _uplink(found["uplink"])
    if last := went_back(found):
        yield from wrapped(
            f"number {last['number']} went back: {last['code']}, {last['reason']}", "config  "
        )
    if working := found.get("maintenance"):
        yield from wrapped(
            f"{working['reason']} ({working['by']}); lamppost maint stop", "maint   "
        )
    for alert in found.get("alerts", ()):
        yield from wrapped(_alert(alert), "alert   ")
    devices = found["devices"]
    wrong = [d for d in devices if d["state"] != "ok"]
    name = max((len(d["name"]) for d in wrong), default=0)
    for device in wrong[:_SHOWN]:
        yield paint(_device(device, name), "warn" if device["state"] == "waiting" else "bad")
    if len(wrong) > _SHOWN:
        yield f"  and {len(wrong) - _SHOWN} more: lamppost sensors list"
    well = [d["name"] for d in devices if d["state"] == "ok"]
    if well:
        yield from wrapped(f"{len(well)} of {len(devices)}: {', '.join(well)}", "answer  ")


def _ring(found: Mapping[str, Any]) -> Iterator[str]:
    ring = found["ring"]
    direct = found["uplink"].get("mode") == "direct"
    by = "taken by the broker" if direct else "proved at the hub"
    yield from wrapped(
        f"{ring['appended']} readings stored, {ring['waiting']} not yet {by}", "ring    "
    )


def _uplink(uplink: Mapping[str, Any]) -> Iterator[str]:
    said = f"{uplink['state']}, {uplink['batches_sent']} batches "
    if uplink.get("mode") == "direct":
        said += "written, no signed receipts in direct mode"
    else:
        said += f"sent, {uplink['receipts_verified']} receipts verified"
    yield from wrapped(said, "uplink  ")
    if uplink.get("letters"):
        refused = f"{uplink['entities_refused']} entities refused by the broker"
        yield from wrapped(f"{refused}: lamppost refused list", "        ")
    if uplink.get("month_budget"):
        spent, whole = uplink["month_bytes"] / 1e6, uplink["month_budget"] / 1e6
        thrift = f": {uplink['thrift']}" if uplink["thrift"] != "full" else ""
        yield from wrapped(f"{spent:.1f} of {whole:g} MB this month{thrift}", "budget  ")


def _alert(alert: Mapping[str, Any]) -> str:
    since, value = alert["since_seconds_ago"], alert["value"]
    return (
        f"{alert['severity']}: {alert['rule']} ({alert['device']}"
        + (f" {alert['point']}" if alert["point"] else "")
        + (f", {value:g}" if value is not None else "")
        + ")"
        + (f" for {span(since)}" if since is not None else " since before the restart")
        + (", flapping" if alert["flapping"] else "")
    )


def _device(device: Mapping[str, Any], name: int) -> str:
    said = f"{device['state']} {span(device['since_seconds_ago'])}: {device['reason']}"
    place = f"  {device['on']:12}" if width() >= 60 else ""
    return f"  {device['name']:{name}}{place}  {said}"[: width()]


def _without(error: LamppostError, state: Path, *, as_json: bool) -> None:
    """No daemon: what its files say, and why there is none."""
    closing = f"PROBLEM {error.code}; type: lamppost doctor host"
    ring = _ring_of(state) if error.code != "daemon.no-answer" else None
    if as_json:
        answer = {
            "schema": "lamppost.status/1",
            "via": "direct",
            "ring": ring,
            "error": error.code,
            "message": str(error),
            "hint": error.hint,
            "verdict": closing,
        }
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    note(str(error))
    say(paint("via: direct", "dim"))
    if ring:
        stored = f"{ring['appended']} readings stored, {ring['waiting']} not yet proved at the hub"
        for line in wrapped(stored, "ring    "):
            say(line)
    for line in wrapped(error.hint, "next    "):
        say(line)
    say(paint(closing, "bad"))


def _ring_of(state: Path) -> dict[str, Any] | None:
    from lamppost.cli.doctor import buffer_of

    try:
        return buffer_of(state)
    except PermissionError:
        return None
