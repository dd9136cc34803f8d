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
@click.option(
    "--offline",
    type=click.Path(path_type=Path, file_okay=False),
    help="where the root keys go, such as a mounted stick; default: DIR/offline",
)
@click.option(
    "--database",
    default="",
    metavar="URL",
    help="PostgreSQL instead of SQLite: postgresql://USER@HOST/DATABASE, without the password",
)
@json_option
def command(
    root: Path,
    hub_id: str,
    host: str,
    port: int,
    offline: Path | None,
    database: str,
    as_json: bool,
) -> None:
    """Make a hub in DIR: certificate authorities, the broker's and the receiver's certificate, the hub's keys."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder, Settings
    from lamppost_hub.founding import found

    settings = Settings(hub_id, host, port, database)
    folder = HubFolder(root)
    found(folder, settings, SystemClock(), offline=offline)
    keys = offline or folder.offline
    lines = [
        f"hub {hub_id} in {root}",
        f"root keys in {keys}: take them off this machine, in two copies (how-to/key-ceremony.md)",
        "keys in service: ca/device-ca.key, tls/*.key, keys/ – keep a copy of them offline too",
    ]
    verdict = f"made; next: lamppost-hub broker-config {root} --port {port}"
    content = {"hub": hub_id, "folder": str(root), "offline": str(keys)}
    finish("hub-init", content, lines, verdict, as_json=as_json)
