"""`lamppost-hub publish serve | refresh | copy`: how gateways get at what is released."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.command()
@hub_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for gateways")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True)
def serve(root: Path, host: str, port: int) -> None:
    """Serve the repository to enrolled gateways over HTTPS, and sign daily what is current, until SIGTERM.

    `lamppost-hub enrol serve` does the same beside enrolment; this is for a machine of its own.
    """
    from lamppost_hub.cli.serving import serve_until_stopped
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.front_door import configuration

    folder = HubFolder(root)
    serve_until_stopped(folder, host, port, configuration(folder), SystemClock())


@click.command()
@hub_argument
@json_option
def refresh(root: Path, as_json: bool) -> None:
    """Sign snapshot and timestamp anew, as `serve` does every day."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish.daily import sign

    sign(root, SystemClock().utc())
    finish("hub-publish-refresh", {}, [], "signed for the next seven days", as_json=as_json)


@click.command("copy")
@hub_argument
@click.argument("place", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def stick(root: Path, place: Path, as_json: bool) -> None:
    """Copy the repository to PLACE, such as a mounted USB stick, for gateways without a network."""
    import shutil

    from lamppost_hub.publish import office

    to = place / "lamppost-configuration"
    with office.repository(root) as repo:
        shutil.copytree(repo.released, to, dirs_exist_ok=True)
    finish("hub-publish-copy", {"folder": str(to)}, [], f"copied to {to}", as_json=as_json)


COMMANDS = (serve, refresh, stick)
