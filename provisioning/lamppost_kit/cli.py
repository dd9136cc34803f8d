"""`lamppost-kit`: what an installer types beside a stack of cards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lamppost import __version__
from lamppost.errors import LamppostError

EXIT_PROBLEM, EXIT_TRUST = 1, 8


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lamppost-kit")
def tree() -> None:
    """Lamppost's kit: cards that become gateways."""


@tree.command("key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def key(file: Path) -> None:
    """Make the batch's signing key in FILE, and FILE.pub for the images that shall trust it."""
    from lamppost.envelope.keys import create_signing_key

    public = create_signing_key(file)
    file.with_name(file.name + ".pub").write_text(public.pem())
    click.echo(f"key {public.kid.hex()}")
    click.echo(f"OK made; it signs seeds: lamppost-kit seed DRIVE --key {file} …")


@tree.command("seed")
@click.argument("drive", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--gateway", required=True, help="the id this card is to have, as on its label")
@click.option("--hub", required=True, metavar="URL", help="the hub's enrolment server")
@click.option("--pin", required=True, metavar="SHA256", help="printed with the token")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="where the one-time token is, - for standard input; without it you are asked",
)
@click.option("--group", default="default", show_default=True, help="whose configuration it gets")
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="the root of signed configuration (root.json)",
)
@click.option("--batch", default="single", show_default=True, help="a name for the report")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="the batch's signing key, made by lamppost-kit key",
)
@click.option("--replace", is_flag=True, help="take another seed that waits on the card away")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.kit-seed/1")
def seed(
    drive: Path,
    gateway: str,
    hub: str,
    pin: str,
    token_file: Path | None,
    group: str,
    root_file: Path | None,
    batch: str,
    key_file: Path,
    replace: bool,
    as_json: bool,
) -> None:
    """Write a signed seed onto DRIVE, the mounted boot partition of a card that any tool has written."""
    from lamppost.envelope.keys import FileSigner
    from lamppost.envelope.seed import Seed, read_seed, write_seed
    from lamppost_kit.drive import check_boot, place_seed

    check_boot(drive)
    root = root_file.read_text("utf-8") if root_file else ""
    made = Seed(batch, gateway, group, hub, pin, _token(token_file), root)
    try:
        content = write_seed(made, FileSigner.load(key_file))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    path = place_seed(drive, content, replace=replace)
    read_seed(path.read_bytes())
    if as_json:
        click.echo(
            json.dumps({"schema": "lamppost.kit-seed/1", "gateway": gateway, "file": str(path)})
        )
        return
    click.echo(f"{gateway} for {hub}")
    click.echo("OK written and read back; unmount the card, boot it, read lamppost-firstboot.log")


def _token(file: Path | None) -> str:
    if file is None:
        return str(click.prompt("token", hide_input=True, err=True)).strip()
    with click.open_file(str(file)) as opened:
        return str(opened.read(1024)).strip()


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the console script. An expected error ends with one PROBLEM line and its exit code."""
    try:
        return tree.main(arguments, prog_name="lamppost-kit", standalone_mode=False)
    except click.ClickException as usage:
        usage.show()
        sys.exit(usage.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except LamppostError as error:
        click.echo(str(error), err=True)
        click.echo(f"PROBLEM {error.code}: {error.hint}")
        sys.exit(EXIT_TRUST if error.code.startswith(("seed.", "trust.")) else EXIT_PROBLEM)
