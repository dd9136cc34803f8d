"""`lamppost-hub publish`: keys and roles. What is done with configurations is in `publish_rollout`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli import publish_rollout, publish_serve
from lamppost_hub.cli.main import finish, hub_argument, json_option

_KEY = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Signed configuration for gateways: two people sign, gateways try, what fails goes back."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def key(file: Path, as_json: bool) -> None:
    """Make a key for one person: FILE stays with its owner, FILE's .pub goes to the hub. Needs no hub."""
    from lamppost_hub.publish.office import create_key

    public = create_key(file)
    content = {"private": str(file), "public": str(public)}
    verdict = f"made; {file} never leaves its owner, {public} goes to the hub"
    finish("hub-publish-key", content, [], verdict, as_json=as_json)


@command.command("init")
@hub_argument
@click.option("--root", "keys", type=_KEY, multiple=True, required=True, help="three .pub files")
@json_option
def begin(root: Path, keys: tuple[Path, ...], as_json: bool) -> None:
    """Begin: root and targets wait for the signatures of two of the root keys."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish import office

    public = office.public_keys(keys)
    with office.repository(root) as repo:
        repo.create(public, office.online_key(root), SystemClock().utc())
        _waits(repo, "hub-publish-init", as_json)


@command.command()
@hub_argument
@click.argument("name", metavar="GROUP")
@click.option("--approver", "keys", type=_KEY, multiple=True, required=True, help=".pub files")
@json_option
def group(root: Path, name: str, keys: tuple[Path, ...], as_json: bool) -> None:
    """Give GROUP its approvers, or others. Two of the root keys must sign."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish import office

    with office.repository(root) as repo:
        repo.group(name, office.public_keys(keys), SystemClock().utc())
        _waits(repo, "hub-publish-group", as_json)


@command.command()
@hub_argument
@click.argument("role", metavar="root|targets|GROUP")
@click.option("--root", "keys", type=_KEY, multiple=True, help="with root: other root keys, .pub")
@click.option("--new-online-key", is_flag=True, help="with root: the online key is replaced")
@json_option
def renew(
    root: Path, role: str, keys: tuple[Path, ...], new_online_key: bool, as_json: bool
) -> None:
    """Move the end of a role away: root every two years, targets and groups every half year, before they end."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.publish import office

    with office.repository(root) as repo:
        utc = SystemClock().utc()
        if role == "root":
            online = office.online_key(root, new=True) if new_online_key else None
            repo.new_root(office.public_keys(keys) if keys else None, online, utc)
        else:
            repo.renew(role, utc)
        _waits(repo, "hub-publish-renew", as_json)


@command.command()
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """What is released, what waits for whom, which roll-outs are halted."""
    from dataclasses import asdict

    from lamppost_hub.cli.text import moment
    from lamppost_hub.publish import office

    with office.repository(root) as repo:
        waiting, halted = repo.waiting(), repo.halted()
        ends = repo.ends()
        published = repo.published() if ends else []
    lines = [f"{role:12} version {version}, ends {moment(end)}" for role, version, end in ends]
    lines += [_waiting_line(w) for w in waiting]
    for rollout in sorted({p.rollout for p in published}):
        mine = [p for p in published if p.rollout == rollout]
        word = ", HALTED" if rollout in halted else ""
        lines.append(f"{rollout:12} serial {mine[0].serial}, {len(mine)} gateways{word}")
        lines += [f"  {share / 100:g} % from {moment(at * 10**9)}" for share, at in mine[0].steps]
    content = {
        "roles": [{"role": r, "version": v, "ends_ns": e} for r, v, e in ends],
        "waiting": [asdict(w) for w in waiting],
        "published": [asdict(p) for p in published],
        "halted": halted,
    }
    verdict = f"{len(published)} gateways have a configuration, {len(waiting)} roles wait"
    finish("hub-publish-show", content, lines, verdict, as_json=as_json)


def _waits(repo: object, schema: str, as_json: bool) -> None:
    from dataclasses import asdict

    from lamppost_hub.publish.repository import Repository

    assert isinstance(repo, Repository)
    waiting = repo.waiting()
    lines = [_waiting_line(w) for w in waiting]
    content = {"waiting": [asdict(w) for w in waiting]}
    verdict = f"{len(waiting)} roles wait in {repo.pending}; next: lamppost-hub publish sign"
    finish(schema, content, lines, verdict, as_json=as_json)


def _waiting_line(waiting: object) -> str:
    from lamppost_hub.publish.repository import Waiting

    assert isinstance(waiting, Waiting)
    signed = f", signed by {', '.join(waiting.signed)}" if waiting.signed else ""
    if not waiting.missing:
        return f"{waiting.role:12} version {waiting.version} can be released{signed}"
    names = ", ".join(waiting.may_sign)
    return f"{waiting.role:12} version {waiting.version} needs {waiting.missing} of {names}{signed}"


for _command in (*publish_rollout.COMMANDS, *publish_serve.COMMANDS):
    command.add_command(_command)
