"""`lamppost wipe`: this machine stops being its gateway. Keys first, then everything else it knew."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from lamppost.cli.main import state_option
from lamppost.errors import StoreError


@click.command()
@click.option("--yes", is_flag=True, help="do not ask for the gateway's name")
@click.option("--discard", is_flag=True, help="also while the hub has not proved every reading")
@state_option
def command(yes: bool, discard: bool, state: Path) -> None:
    """Remove keys, certificates, ring and configuration from this machine, for good.

    The daemon must be stopped. Flash memory may keep remains of deleted files: the operator revokes the gateway too.
    """
    from lamppost.files import locked

    if not state.is_dir():
        click.echo(f"OK nothing to wipe: {state} does not exist")
        return
    with locked(state / "lock", "state folder"):
        waiting = 0 if discard else _waiting(state)
        if waiting:
            raise StoreError(
                f"{waiting} readings are not proved at the hub yet",
                code="store.unproved",
                hint="start the daemon until `lamppost buffer status` shows none, or give --discard",
            )
        gateway = _gateway(state)
        if not yes and click.prompt(f"Type {gateway} to wipe it", default="") != gateway:
            raise click.Abort
        elsewhere = _elsewhere(state)
        _remove(state)
    (state / "lock").unlink(missing_ok=True)
    click.echo(f"{gateway} is no longer on this machine")
    if elsewhere:
        click.echo(f"its key is not a file of ours and stays where it is; {elsewhere}")
    click.echo(f"OK wiped; at the hub: lamppost-hub enrol revoke DIR {gateway}")


def _gateway(state: Path) -> str:
    """The name on the identity; the folder's own where that cannot be read."""
    from lamppost.envelope import identity
    from lamppost.errors import TrustError

    try:
        return identity.owner(state / "identity")
    except TrustError:
        return state.name


def _elsewhere(state: Path) -> str:
    """How to remove a key that a token or a credential holds; "" where it is a file here."""
    from lamppost.envelope import signer
    from lamppost.errors import TrustError

    try:
        said = signer.choice(state / "identity")
    except TrustError:
        return "look into its token"
    if said is None:
        return ""
    if said["kind"] == "pkcs11":
        return (
            f"remove it from the token {said['token']}: pkcs11-tool --module {said['module']}"
            f" --login --delete-object --type privkey --label {said['key']}"
        )
    return f"remove it: rm /etc/credstore.encrypted/{said['name']}"


def _waiting(state: Path) -> int:
    from lamppost.cli import card

    try:
        with card.opened(state) as ring:
            stats = ring.stats()
            return stats.last - stats.settled_through
    except StoreError as failed:
        if failed.code == "ring.absent":
            return 0
        raise StoreError(
            f"{failed}: whether readings wait is not known",
            code="store.unproved",
            hint="if they may be lost, give --discard",
        ) from failed


def _remove(state: Path) -> None:
    """The private keys go first: a wipe that is cut short leaves no identity behind."""
    for path in sorted(state.rglob("*.key")) + sorted(state.rglob("tls.pem")):
        path.unlink(missing_ok=True)
    for path in state.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()
