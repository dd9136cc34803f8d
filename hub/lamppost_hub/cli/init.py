"""`lamppost-hub init`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.command()
@hub_argument
@click.option(
    "--id",
    "hub_id",
    required=True,
    help="the hub's id, such as hub.example: every batch is sealed for it",
)
@click.option(
    "--host", default="localhost", show_default=True, help="the broker's name, in its certificate"
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8883,
    show_default=True,
    help="the broker's port",
)
@json_option
def command(root: Path, hub_id: str, host: str, port: int, as_json: bool) -> None:
    """Make a hub in DIR: two certificate authorities, the broker's and the receiver's certificate, the hub's keys."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder, Settings
    from lamppost_hub.founding import found

    settings = Settings(hub_id, host, port)
    found(HubFolder(root), settings, SystemClock())
    lines = [
        f"hub {hub_id} in {root}",
        "private keys: ca/*.key, tls/*.key, keys/ – keep a copy offline",
    ]
    verdict = f"made; next: lamppost-hub broker-config {root} --port {port}"
    finish("hub-init", {"hub": hub_id, "folder": str(root)}, lines, verdict, as_json=as_json)
