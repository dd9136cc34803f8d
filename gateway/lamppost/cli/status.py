"""`lamppost status`: one screen, verdict last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from lamppost.cli.main import socket_option
from lamppost.status.control import ask


@click.command()
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.status/1")
def command(socket: Path, as_json: bool) -> None:
    """Is this gateway doing its job?"""
    found = ask(socket, {"do": "status"})
    verdict = _verdict(found)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(found):
            click.echo(line[:80])
        click.echo(verdict)
    if not verdict.startswith("OK"):
        raise SystemExit(1)


def _lines(found: Mapping[str, Any]) -> list[str]:
    ring, uplink = found["ring"], found["uplink"]
    direct = uplink.get("mode") == "direct"
    lines = [
        f"{found['gateway']} to {found['hub'] or 'a context broker'}, Lamppost {found['version']}, "
        f"up {_span(found['up_seconds'])}, clock {found['clock']}",
        f"ring    {ring['appended']} readings stored, {ring['waiting']} not yet "
        + ("taken by the broker" if direct else "proved at the hub"),
        f"uplink  {uplink['state']}, {uplink['batches_sent']} batches "
        + (
            "written, no signed receipts in direct mode"
            if direct
            else f"sent, {uplink['receipts_verified']} receipts verified"
        ),
    ]
    if direct and uplink["letters"]:
        lines.append(
            f"        {uplink['entities_refused']} entities refused by the broker: lamppost refused list"
        )
    if uplink.get("month_budget"):
        lines.append(
            f"budget  {uplink['month_bytes'] / 1e6:.1f} of {uplink['month_budget'] / 1e6:g} MB this month"
            + (f": {uplink['thrift']}" if uplink["thrift"] != "full" else "")
        )
    lines += [_alert(alert) for alert in found.get("alerts", ())]
    width = max((len(d["name"]) for d in found["devices"]), default=0)
    for device in found["devices"]:
        said = device["state"]
        if said != "ok":
            said += f" for {_span(device['since_seconds_ago'])}: {device['reason']}"
        lines.append(f"  {device['name']:{width}}  {device['on']:12} {said}")
    return lines


def _alert(alert: Mapping[str, Any]) -> str:
    since, value = alert["since_seconds_ago"], alert["value"]
    return (
        f"alert   {alert['severity']}: {alert['rule']} ({alert['device']}"
        + (f" {alert['point']}" if alert["point"] else "")
        + (f", {value:g}" if value is not None else "")
        + ")"
        + (f" for {_span(since)}" if since is not None else " since before the restart")
        + (", flapping" if alert["flapping"] else "")
    )


def _verdict(found: Mapping[str, Any]) -> str:
    """The most important thing that is wrong, or OK."""
    ring, uplink = found["ring"], found["uplink"]
    if ring["state"] not in ("ok", "salvaged"):
        return (
            f"PROBLEM ring.{ring['state']}: free or replace the card; see: lamppost buffer status"
        )
    if uplink["code"] or uplink["state"] != "connected":
        return f"PROBLEM {uplink['code'] or 'uplink.' + uplink['state']}: {uplink['hint']}"
    if found["clock"] == "behind-floor":
        return "PROBLEM clock.behind-floor: the clock stands in the past; see: timedatectl"
    silent = [d for d in found["devices"] if d["state"] != "ok"]
    if silent:
        first = silent[0]
        others = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        return (
            f"PROBLEM {first['fault']['code']}: {first['name']}{others}: {first['fault']['hint']}"
        )
    said = "the broker has taken" if uplink.get("mode") == "direct" else "the hub has proved"
    alerts = len(found.get("alerts", ()))
    raised = f", {alerts} alert{'s' if alerts > 1 else ''} raised" if alerts else ""
    return (
        f"OK {len(found['devices'])} devices answer, {said} all but {ring['waiting']} readings"
        + raised
    )


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
