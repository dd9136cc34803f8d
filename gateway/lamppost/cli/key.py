"""`lamppost key`: where this gateway's envelope key is, and how it gets into a token or a credential."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost.cli.main import state_option

PIN = "token-pin"


@click.group()
def command() -> None:
    """The key that this gateway signs with: a file, a systemd credential, or in a PKCS#11 token."""


@command.command()
@state_option
def show(state: Path) -> None:
    """Where the key is, of what kind, and its id as the hub's registry shows it."""
    from lamppost.envelope import identity, signer

    folder = state / "identity"
    gateway = identity.owner(folder)
    said = signer.choice(folder)
    public = signer.load(folder).public
    where = f"file {folder / signer.KEY}"
    if said is not None and said["kind"] == "credential":
        where = f"credential {said['name']}"
    elif said is not None:
        where = f"token {said['token']}, key {said['key']}, module {said['module']}"
    click.echo(f"gateway {gateway}\nkey     {public.kind} {public.kid.hex()}\nin      {where}")


@command.command("in-token")
@click.argument("gateway")
@click.option("--module", required=True, help="the token maker's PKCS#11 library, a .so file")
@click.option("--token", "token", required=True, help="the token's label")
@click.option("--label", help="the key's label in the token; the gateway's id unless given")
@click.option(
    "--pin", default=PIN, show_default=True, help="name of the credential that holds the PIN"
)
@state_option
def in_token(
    gateway: str, module: str, token: str, label: str | None, pin: str, state: Path
) -> None:
    """Begin the identity of GATEWAY with a key made in a token, before it is enrolled."""
    from lamppost.envelope import identity
    from lamppost.envelope.token import TokenKey

    place = TokenKey(module, token, label or gateway)
    public = identity.create(state / "identity", gateway, token=place, pin=pin)
    click.echo(f"key     {public.kind} {public.kid.hex()}")
    click.echo(f"OK the key is in the token; go on with: lamppost enrol {gateway}")


@command.command("in-credential")
@click.argument("name")
@state_option
def in_credential(name: str, state: Path) -> None:
    """From now on the key comes as the credential NAME; it must be there and be the same key."""
    from lamppost.envelope import identity, signer

    folder = state / "identity"
    identity.owner(folder)
    public = signer.move_to_credential(folder, name)
    click.echo(f"key     {public.kind} {public.kid.hex()}")
    click.echo(f"OK the credential {name} is used; remove the file: shred -u {folder / signer.KEY}")
