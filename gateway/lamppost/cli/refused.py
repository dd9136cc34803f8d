"""`lamppost refused list | retry`: what the context broker would not take in direct mode."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from lamppost.cli.main import state_option


@click.group()
def command() -> None:
    """Entities that the context broker refused for good (direct mode)."""


@command.command("list")
@state_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.refused-list/1")
@click.option("--all", "whole", is_flag=True, help="every entity, not only the first of a batch")
def show(state: Path, as_json: bool, whole: bool) -> None:
    """The refused batches, the oldest first, each with the broker's first reason."""
    from lamppost.uplink.refused import Box

    box = Box(state / "refused")
    letters, dropped = box.letters(), box.dropped()
    if as_json:
        content = {
            "schema": "lamppost.refused-list/1",
            "dropped": dropped,
            "letters": [asdict(letter) for letter in letters],
        }
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        for letter in letters:
            waits = ", will be offered again" if letter.again else ""
            click.echo(f"{letter.job}  {len(letter.refused)} entities{waits}")
            for refused in letter.refused if whole else letter.refused[:1]:
                click.echo(f"    {refused['status']} {refused['entity'].get('id')}"[:120])
                click.echo(f"    {orjson.dumps(refused['problem']).decode()}"[:240])
        count = sum(len(letter.refused) for letter in letters)
        gone = f"; {dropped} older ones were given up" if dropped else ""
        click.echo(
            f"{count} entities of {len(letters)} batches{gone}" if letters else f"none{gone}"
        )
    if letters:
        raise SystemExit(1)


@command.command()
@state_option
@click.argument("batches", nargs=-1)
def retry(state: Path, batches: tuple[str, ...]) -> None:
    """Offer refused BATCHES (all where none is named) to the broker again; the running daemon does it."""
    from lamppost.uplink.refused import Box

    marked = Box(state / "refused").ask_again(batches)
    click.echo(f"{marked} batches will be offered again; see: lamppost refused list")
