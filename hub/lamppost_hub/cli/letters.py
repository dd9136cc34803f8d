"""`lamppost-hub dead-letter list | retry`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.group()
def command() -> None:
    """Batches that a sink refused for good, and the newest refused messages."""


@command.command("list")
@hub_argument
@click.option(
    "--messages",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="refused messages to show",
)
@json_option
def show(root: Path, messages: int, as_json: bool) -> None:
    """Dead letters of the sinks (they can be retried), then refused messages (the gateway still has those)."""
    from lamppost_hub.books import Books
    from lamppost_hub.cli.text import moment
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.queue import Queue

    database = open_database(HubFolder(root))
    letters, refused = Queue(database).dead_letters(), Books(database).refused(messages)
    database.close()
    lines = []
    for item in letters:
        lines.append(
            f"{item.number:5} {item.gateway} {item.epoch}/{item.seq} {item.sink} {item.state}"
        )
        lines.append(f"      {item.code}: {item.reason}")
    lines += [
        f"refused {moment(item.at)} {item.code} on {item.topic}, {item.size} bytes"
        for item in refused
    ]
    content = {
        "letters": [asdict(item) for item in letters],
        "messages": [asdict(item) for item in refused],
    }
    parked = sum(item.state == "parked" for item in letters)
    verdict = "no dead letters"
    if letters:
        verdict = f"{parked} parked, {len(letters) - parked} queued again; type: lamppost-hub dead-letter retry {root}"
    finish("hub-dead-letter-list", content, lines, verdict, as_json=as_json, ok=not parked)


@command.command()
@hub_argument
@click.argument("numbers", type=int, nargs=-1)
@json_option
def retry(root: Path, numbers: tuple[int, ...], as_json: bool) -> None:
    """Offer dead letters (all of them, or NUMBERS) to their sink again; the running receiver does it."""
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.queue import Queue

    database = open_database(HubFolder(root))
    queued = Queue(database).retry(numbers or None)
    database.close()
    finish(
        "hub-dead-letter-retry", {"queued": queued}, [], f"{queued} queued again", as_json=as_json
    )
