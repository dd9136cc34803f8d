"""`lamppost run`: the daemon in the foreground, as systemd wants it."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from lamppost.cli.main import socket_option, state_option


@click.command()
@click.argument(
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/lamppost/site.toml"),
)
@state_option
@socket_option
@click.option("-v", "--verbose", is_flag=True, help="log every step")
def command(file: Path, state: Path, socket: Path, verbose: bool) -> None:
    """Run the gateway until SIGTERM: with its signed configuration or, while it has none, with the site FILE."""
    from lamppost.daemon import run

    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    run(file, state, socket)
