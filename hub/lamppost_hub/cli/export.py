"""`lamppost-hub export-archive`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.command()
@hub_argument
@click.option("--gateway", required=True)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="the file to write; an old one is replaced",
)
@json_option
def command(root: Path, gateway: str, out: Path, as_json: bool) -> None:
    """Everything that an auditor of GATEWAY needs, in one file: batches as signed, checkpoints, public keys."""
    from lamppost_hub.archive import write_archive
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.files import durable_output
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.inspection import hub_archive

    with hub_archive(HubFolder(root), gateway) as archive, durable_output(out) as file:
        batches = write_archive(archive, file, SystemClock().utc())
    verdict = f"{batches} batches; check them with: lamppost-hub audit --archive {out}"
    content = {"gateway": gateway, "file": str(out), "batches": batches}
    finish("hub-export-archive", content, [], verdict, as_json=as_json)
