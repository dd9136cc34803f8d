"""What `enrol serve` and `publish serve` share: the front door, open until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from lamppost_hub.clock import Clock
from lamppost_hub.folder import HubFolder
from lamppost_hub.front_door import Application, front_door
from lamppost_hub.publish.daily import beside
from lamppost_hub.watchdog import notify


def serve_until_stopped(
    folder: HubFolder, host: str, port: int, application: Application, clock: Clock
) -> None:
    """Prints one line `ready URL` once it listens; signs daily beside it what is released."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    name = folder.settings().host

    def ready(at: int) -> None:
        notify("READY=1")
        click.echo(f"ready https://{name}:{at}")

    with front_door(folder, host, port, application, ready) as server:
        asyncio.run(beside(server.run_here(), folder.root, clock))
    click.echo("OK stopped")
