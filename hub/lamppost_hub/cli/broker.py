"""`lamppost-hub broker-config`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.command()
@hub_argument
@click.option(
    "--port", type=click.IntRange(1, 65535), default=None, help="default: the port of hub.toml"
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    help="address to listen on; 0.0.0.0 for gateways",
)
@json_option
def command(root: Path, port: int | None, bind: str, as_json: bool) -> None:
    """Write DIR/broker/mosquitto.conf and the access list beside it. The port is kept in hub.toml."""
    from dataclasses import replace

    from lamppost_hub.broker_files import write_broker_files
    from lamppost_hub.folder import HubFolder

    folder = HubFolder(root)
    settings = folder.settings()
    port = port or settings.port
    path = write_broker_files(folder, port, bind)
    if port != settings.port:
        folder.write_settings(replace(settings, port=port))
    lines = [
        f"listener {bind} port {port}, TLS 1.3, client certificates of {root / 'ca' / 'device-root.pem'}"
    ]
    verdict = f"written; next: mosquitto -c {path}"
    finish(
        "hub-broker-config",
        {"file": str(path), "bind": bind, "port": port},
        lines,
        verdict,
        as_json=as_json,
    )
