"""`lamppost-hub key list | add | retire | restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option

if TYPE_CHECKING:
    from lamppost_hub.rotation import HubKey, Rotation

_NUMBER = click.argument("number", type=click.IntRange(1))


@click.group()
def command() -> None:
    """The hub's encryption keys: rotate them with an overlap."""


def _rotation(root: Path) -> Rotation:
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.rotation import Rotation

    folder = HubFolder(root)
    return Rotation(folder, open_database(folder))


def _content(key: HubKey) -> dict[str, Any]:
    return {
        "number": key.number,
        "key": key.kid.hex(),
        "state": key.state,
        "gateways": list(key.gateways),
    }


@command.command("list")
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """All keys, and how many gateways seal for each."""
    keys = _rotation(root).keys()
    lines = [
        f"encryption-{key.number} {key.state:9} {len(key.gateways)} gateways"
        + (f": {', '.join(key.gateways[:5])}" if key.gateways else "")
        for key in keys
    ]
    content = {"keys": [_content(key) for key in keys]}
    finish("hub-key-list", content, lines, f"{len(keys)} keys", as_json=as_json)


@command.command()
@hub_argument
@json_option
def add(root: Path, as_json: bool) -> None:
    """Make another key. Restart the receivers; every gateway takes it at its next enrolment."""
    key = _rotation(root).add()
    verdict = f"made encryption-{key.number}; restart every receiver before a gateway enrols again"
    finish("hub-key-add", _content(key), [], verdict, as_json=as_json)


@command.command()
@hub_argument
@_NUMBER
@click.option(
    "--anyway", is_flag=True, help="although gateways seal for it: what they send is refused"
)
@json_option
def retire(root: Path, number: int, anyway: bool, as_json: bool) -> None:
    """Read nothing with key NUMBER any more; refused while a gateway's newest enrolment names it."""
    key = _rotation(root).retire(number, anyway=anyway)
    lines = [f"still sealing for it: {', '.join(key.gateways)}"] if key.gateways else []
    verdict = f"encryption-{number} lies in keys/retired; restart the receivers"
    finish("hub-key-retire", _content(key), lines, verdict, as_json=as_json)


@command.command()
@hub_argument
@_NUMBER
@json_option
def restore(root: Path, number: int, as_json: bool) -> None:
    """Read with the retired key NUMBER again: for batches that were refused as envelope.unknown-hub-key."""
    key = _rotation(root).restore(number)
    verdict = f"encryption-{number} is read again; restart the receivers"
    finish("hub-key-restore", _content(key), [], verdict, as_json=as_json)
