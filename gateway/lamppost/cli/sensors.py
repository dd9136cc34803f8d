"""`lamppost sensors`: devices one by one: list, read, test, info."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost.cli.bus import reached


@click.group()
def command() -> None:
    """Devices: list, read, test, info."""


@command.command("list")
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.sensors-list/1")
def list_(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """All devices of the site, and how they are."""
    from lamppost.cli.sensors_show import show_list

    show_list(socket, state, site, as_json=as_json)


@command.command()
@click.argument("name")
@reached
@click.option("-n", "count", type=click.IntRange(1), default=1, show_default=True, help="readings")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.sensors-read/1")
def read(name: str, socket: Path, state: Path, site: Path, count: int, as_json: bool) -> None:
    """The values of device NAME: by the daemon, or read here and now where none runs."""
    from lamppost.cli.sensors_read import show

    show(socket, state, site, name, count, as_json=as_json)


@command.command()
@click.argument("name", required=False)
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.sensors-test/1")
def test(name: str | None, socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """Does device NAME (all without one) give sound values? Asks it, and says what is wrong."""
    from lamppost.cli.sensors_test import show

    show(socket, state, site, name, as_json=as_json)


@command.command()
@click.argument("name")
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.sensors-info/1")
def info(name: str, socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """What is known of device NAME: place, settings, model, points, what to beware of."""
    from lamppost.cli.sensors_show import show_info

    show_info(socket, state, site, name, as_json=as_json)
