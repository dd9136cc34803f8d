"""`lamppost buffer`: what the ring holds, with the daemon or without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from lamppost.cli.main import socket_option, state_option
from lamppost.errors import HubError, LamppostError


@click.group()
def command() -> None:
    """The ring: what is stored, what the hub has proved."""


@command.command()
@state_option
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.buffer-status/1")
def status(state: Path, socket: Path, as_json: bool) -> None:
    """How many readings are stored, sealed, proved at the hub, evicted."""
    found = _from_daemon(socket) or _from_files(state)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"via {found['via']}: epoch {found['epoch']}, state {found['state']}")
    click.echo(f"stored   {found['appended']} readings since this epoch began")
    click.echo(f"waiting  {found['waiting']} readings, {found['held']} sealed batches in flight")
    click.echo(f"proved   {found['batches_settled']} batches by a verified receipt")
    click.echo(f"evicted  {found['evicted']} readings, each named in a signed gap")
    click.echo(f"disk     {found['bytes_used']} of {found['bytes_limit']} bytes")
    healthy = found["state"] == "ok"
    click.echo(
        "OK" if healthy else f"PROBLEM buffer.{found['state']}: look at: lamppost doctor buffer"
    )
    if not healthy:
        raise SystemExit(1)


def _from_daemon(socket: Path) -> dict[str, Any] | None:
    from lamppost.status.control import ask

    try:
        return ask(socket, {"do": "buffer"})
    except HubError:
        return None


def _from_files(state: Path) -> dict[str, Any]:
    from lamppost.ring import Ring
    from lamppost.status.report import buffer_report

    folder = state / "ring"
    if not folder.is_dir():
        raise LamppostError(
            f"no ring in {state}",
            code="ring.absent",
            hint="name the state folder of this gateway with --state",
        )
    ring = Ring.open(folder, 0)
    try:
        return buffer_report(ring.stats(), ring.head(), via="direct")
    finally:
        ring.close()
