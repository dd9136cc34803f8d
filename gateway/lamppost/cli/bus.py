"""`lamppost bus`: links and who is on them. With the daemon up it lends the bus; nothing here writes to a device."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import click

from lamppost.cli.main import site_option, socket_option, state_option
from lamppost.cli.terminal import Progress, note, paint, say, wrapped

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")
_SPANS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def reached(command: Any) -> Any:
    """The options by which a command finds daemon, state and site."""
    return site_option(state_option(socket_option(command)))


def link_option(command: Any) -> Any:
    """`--link`: only these links."""
    return click.option("--link", "links", multiple=True, help="only this link; may be repeated")(
        command
    )


@click.group()
def command() -> None:
    """Links: list, scan, probe, sniff, soak, raw. The daemon, where it runs, lends the bus for a while."""


@command.command("list")
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bus-list/1")
def list_(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """Links of the site with ports, settings and states; serial ports that no link uses."""
    from lamppost.cli.bus_list import show

    show(socket, state, site, as_json=as_json)


@command.command()
@click.argument("device", required=False)
@link_option
@reached
@click.option("--retest", is_flag=True, help="test again after each change that you make by hand")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bus-probe/1")
def probe(
    device: str | None,
    links: tuple[str, ...],
    socket: Path,
    state: Path,
    site: Path,
    retest: bool,
    as_json: bool,
) -> None:
    """Why does DEVICE (name or unit id; all without one) not answer? Ten seconds at most."""
    from lamppost.cli.bus_probe import Probe

    if retest and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("--retest asks you to press Enter: it needs a terminal")
    made = Probe(socket, state, site, device, links)
    code = made.once(as_json=as_json)
    while retest:
        note("Change one thing (swap A and B, seat a plug), then press Enter; q and Enter ends.")
        if (pressed := sys.stdin.readline()) == "" or pressed.strip().lower() == "q":
            break
        code = made.once(as_json=False)
    if code:
        raise SystemExit(code)


@command.command()
@link_option
@reached
@click.option("--from", "first", type=click.IntRange(0, 250), help="first unit id or address")
@click.option("--to", "last", type=click.IntRange(0, 250), help="last unit id or address")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="write a site file with what was found, for: lamppost config check",
)
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bus-scan/1")
def scan(
    links: tuple[str, ...],
    socket: Path,
    state: Path,
    site: Path,
    first: int | None,
    last: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Who is on the bus? Asks every unit id (about 51 s for all 247) and names what it knows. On an M-Bus: first by
    the numbers of the meters, then by primary addresses.
    """
    from lamppost.cli.bus_scan import show

    show(socket, state, site, links, first, last, out, as_json=as_json)


@command.command()
@link_option
@reached
@click.option("--for", "span", default="10s", show_default=True, help="how long, such as 1min")
@click.option("--ndjson", is_flag=True, help="one object a line, schema lamppost.bus-sniff/1")
def sniff(
    links: tuple[str, ...], socket: Path, state: Path, site: Path, span: str, ndjson: bool
) -> None:
    """Only listen: what is said on the line while we are silent."""
    from lamppost.cli.bus_sniff import listen

    listen(socket, state, site, links, seconds_of(span), ndjson=ndjson)


@command.command()
@click.argument("device", required=False)
@link_option
@reached
@click.option("--for", "span", default="30s", show_default=True, help="how long, such as 10min")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bus-soak/1")
def soak(
    device: str | None,
    links: tuple[str, ...],
    socket: Path,
    state: Path,
    site: Path,
    span: str,
    as_json: bool,
) -> None:
    """Ask DEVICE (all without one) again and again, and count: for loose wires and bad lines."""
    from lamppost.cli.bus_soak import soak as run

    run(socket, state, site, device, links, seconds_of(span), as_json=as_json)


@command.command()
@click.argument("hexadecimal", metavar="BYTES...", nargs=-1, required=True)
@click.option("--link", required=True, help="the link to send on")
@click.option("--crc", is_flag=True, help="add the CRC of Modbus RTU")
@click.option("--wait", default="500ms", show_default=True, help="for the first byte")
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bus-raw/1")
def raw(
    hexadecimal: tuple[str, ...],
    link: str,
    crc: bool,
    wait: str,
    socket: Path,
    state: Path,
    site: Path,
    as_json: bool,
) -> None:
    """Send BYTES (hex) and show what comes. Requests that could change a device are refused."""
    from lamppost.cli.bus_raw import send

    try:
        data = bytes.fromhex("".join(hexadecimal))
    except ValueError:
        raise click.UsageError("BYTES are hexadecimal digits, two a byte") from None
    send(socket, state, site, link, data, seconds_of(wait), crc=crc, as_json=as_json)


def seconds_of(text: str) -> float:
    """A time with its unit. Raises click.UsageError."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise click.UsageError(f"{text!r} is no time: write 30s, 5min or 1h")
    return float(found[1]) * _SPANS[found[2]]


def run(work: Any, progress: Progress) -> Any:
    """Run a coroutine; the progress line is taken away whatever happens."""
    try:
        return asyncio.run(work)
    finally:
        progress.clear()


def via(text: str) -> None:
    """Say which way was taken."""
    for line in wrapped(f"via: {text}"):
        say(paint(line, "dim"))
