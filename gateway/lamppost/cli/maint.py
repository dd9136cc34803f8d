"""`lamppost maint`: tell the hub that somebody works here, so that nobody is alarmed. It ends by itself."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import click

from lamppost.cli.main import socket_option
from lamppost.cli.terminal import say, span
from lamppost.status.control import ask

_LONGEST = 24 * 3600.0


@click.group()
def command() -> None:
    """Maintenance: start, stop. Readings go on; the hub shows "maintenance" in place of a fault."""


@command.command()
@click.option("--for", "span_", required=True, help="how long, such as 1h; a day at most")
@click.option("--reason", required=True, help="what is done here; the operator reads it")
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.maintenance/1")
def start(span_: str, reason: str, socket: Path, as_json: bool) -> None:
    """Begin, or begin anew with another end."""
    from lamppost.cli.bus import seconds_of

    seconds = seconds_of(span_)
    if not 0 < seconds <= _LONGEST:
        raise click.UsageError("--for is between 1s and 24h")
    by = getpass.getuser()
    found = _ask(socket, {"do": "maintenance", "seconds": seconds, "reason": reason, "by": by})
    _show(
        found, f"OK maintenance for {span(seconds)}: {reason}; end it: lamppost maint stop", as_json
    )


@command.command()
@socket_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.maintenance/1")
def stop(socket: Path, as_json: bool) -> None:
    """End it now."""
    found = _ask(socket, {"do": "maintenance", "seconds": 0})
    _show(found, "OK no maintenance", as_json)


def _ask(socket: Path, request: dict[str, Any]) -> dict[str, Any]:
    from lamppost.errors import LamppostError

    found = ask(socket, request)
    if "error" in found:
        raise LamppostError(
            found.get("message", found["error"]),
            code=found["error"],
            hint=found.get("hint", "use a lamppost of the daemon's version"),
        )
    return found


def _show(found: dict[str, Any], closing: str, as_json: bool) -> None:
    if as_json:
        import orjson

        say(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        say(closing)
