"""`lamppost-hub receive`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import hub_argument


@click.command()
@hub_argument
@click.option("--host", default=None, help="the broker; default: as in hub.toml")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=None,
    help="the broker's port; default: as in hub.toml",
)
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="SINK",
    help="embedded (default), jsonl:PATH or ngsi-ld:URL; repeat it for several",
)
@click.option(
    "--receiver",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="which receiver this is",
)
@click.option("--group", default=None, help="share the messages with other receivers of this group")
@click.option(
    "--backlog",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="batches a sink may lag",
)
def command(
    root: Path,
    host: str | None,
    port: int | None,
    sinks: tuple[str, ...],
    receiver: int,
    group: str | None,
    backlog: int,
) -> None:
    """Receive, prove, store, answer and forward until SIGTERM. Prints one line `ready …` once it is subscribed."""
    import logging
    import sys

    from lamppost_hub.brake import Limits
    from lamppost_hub.daemon import Choice, run
    from lamppost_hub.folder import HubFolder

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    choice = Choice(
        host=host,
        port=port,
        sinks=sinks or ("embedded",),
        receiver=receiver,
        group=group,
        limits=Limits(backlog=backlog),
    )
    run(HubFolder(root), choice, ready=lambda text: click.echo(f"ready {text}"))
    click.echo("OK stopped")
