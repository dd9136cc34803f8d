"""`lamppost page`: status in a browser, for a while: over ssh -L, or on one interface with a token."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from lamppost.cli.bus import reached
from lamppost.cli.terminal import note, say


@click.group()
def command() -> None:
    """The local page: open, close. It reads only, and closes itself."""


@command.command("open")
@reached
@click.option("--on", "interface", help="an interface, such as usb0; without it only this machine")
@click.option("--for", "span", default="30min", show_default=True, help="how long, 8h at most")
@click.option("--port", type=click.IntRange(0, 65535), default=8088, show_default=True)
def open_(
    socket: Path, state: Path, site: Path, interface: str | None, span: str, port: int
) -> None:
    """Serve the page here until the time is over, Ctrl-C, or: lamppost page close."""
    from lamppost.cli.bus import seconds_of
    from lamppost.clock import SystemClock
    from lamppost.page.app import Door, application
    from lamppost.page.serve import Server
    from lamppost.status.control import ask

    seconds = seconds_of(span)
    if not 0 < seconds <= 8 * 3600:
        raise click.UsageError("--for is between 1s and 8h")
    host = _address(interface) if interface else "127.0.0.1"
    local = frozenset({"127.0.0.1", "localhost", "::1"})
    door = Door.with_token(frozenset({host})) if interface else Door(local)
    clock = SystemClock()
    until = clock.monotonic() + seconds
    app = application(
        lambda: ask(socket, {"do": "status"}, 3.0),
        door,
        _units(site, state),
        lambda: (until - clock.monotonic()) / 60,
    )
    server = Server(app, host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{server.port}/"
    if interface:
        from lamppost.cli.identity import qr_lines

        address += f"?t={door.token}"
        for line in qr_lines(address):
            say(line)
    else:
        note(f"from your laptop: ssh -L {server.port}:localhost:{server.port} this-gateway")
    say(f"open  {address}")
    sys.stdout.flush()
    why = asyncio.run(server.run(until, clock, door))
    if why.startswith("somebody"):
        say(f"PROBLEM the page is closed: {why}; type: lamppost page open --on {interface}")
        raise SystemExit(1)
    say(f"OK the page is closed: {why}")


@command.command()
def close() -> None:
    """Close the page that this user opened."""
    from lamppost.page.serve import ring

    if not ring(os.getuid()):
        say("OK no page was open")
        return
    say("OK the page is closed")


def _address(interface: str) -> str:
    from lamppost.diagnosis.gather.network import interfaces

    found = {each.name: each for each in interfaces()}
    if interface not in found:
        raise click.UsageError(f"no interface {interface!r}: {', '.join(found) or 'none'}")
    addresses = found[interface].addresses
    if not addresses:
        raise click.UsageError(f"{interface} has no address; see: ip address show {interface}")
    return next((a for a in addresses if ":" not in a), addresses[0])


def _units(site: Path, state: Path) -> dict[str, dict[str, str]]:
    """Units by device and point, where the site can be read; the page shows values without them."""
    from lamppost.acquire import device_points
    from lamppost.diagnosis.gather import program

    _, loaded, registry = program.config(site, state)
    if loaded is None or registry is None:
        return {}
    points = device_points(loaded, registry)
    return {name: {p.name: p.unit for p in each} for name, each in points.items()}
