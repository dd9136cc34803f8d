"""`lamppost refused list | retry`: what the context broker would not take in direct mode, readings and alerts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from lamppost.cli.main import state_option

if TYPE_CHECKING:
    from lamppost.uplink.refused import Box, Letter

FOLDERS = ("refused", "alerts/refused")


@click.group()
def command() -> None:
    """Entities that the context broker refused for good (direct mode)."""


@command.command("list")
@state_option
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.refused-list/1")
@click.option("--all", "whole", is_flag=True, help="every entity, not only the first of a batch")
def show(state: Path, as_json: bool, whole: bool) -> None:
    """The refused batches, the oldest first, each with the broker's first reason."""
    boxes = _boxes(state)
    letters = [letter for box in boxes for letter in box.letters()]
    dropped = sum(box.dropped() for box in boxes)
    if as_json:
        content = {
            "schema": "lamppost.refused-list/1",
            "dropped": dropped,
            "letters": [asdict(letter) for letter in letters],
        }
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        for letter in letters:
            _tell(letter, whole)
        count = sum(len(letter.refused) for letter in letters)
        gone = f"; {dropped} older ones were given up" if dropped else ""
        said = f"{count} entities of {len(letters)} batches" if letters else "OK none"
        click.echo(said + gone)
    if letters:
        raise SystemExit(1)


@command.command()
@state_option
@click.argument("batches", nargs=-1)
def retry(state: Path, batches: tuple[str, ...]) -> None:
    """Offer refused BATCHES (all where none is named) to the broker again; the running daemon does it."""
    marked = 0
    boxes = _boxes(state)
    known = {letter.job for box in boxes for letter in box.letters()}
    for box in boxes:
        mine = {letter.job for letter in box.letters()}
        named = [job for job in batches if job in mine or job not in known]
        if mine and (named or not batches):
            marked += box.ask_again(named)
    if batches and not known:
        boxes[0].ask_again(batches)  # says that there is none of that name
    click.echo(f"OK {marked} batches will be offered again; see: lamppost refused list")


def _boxes(state: Path) -> list[Box]:
    from lamppost.uplink.refused import Box

    return [Box(state / folder) for folder in FOLDERS]


def _tell(letter: Letter, whole: bool) -> None:
    waits = ", will be offered again" if letter.again else ""
    click.echo(f"{letter.job}  {len(letter.refused)} entities{waits}")
    for refused in letter.refused if whole else letter.refused[:1]:
        click.echo(f"    {refused['status']} {refused['entity'].get('id')}"[:120])
        click.echo(f"    {orjson.dumps(refused['problem']).decode()}"[:240])
