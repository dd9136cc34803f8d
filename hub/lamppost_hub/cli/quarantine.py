"""`lamppost-hub quarantine list | release`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.group()
def command() -> None:
    """Gateways of which two seem to exist: what they contradict each other in, and going on with one of them."""


@command.command("list")
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """Every stopped epoch with the batches that contradict what is booked."""
    from lamppost_hub.cli.text import moment
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.quarantine import Quarantine

    database = open_database(HubFolder(root))
    found = Quarantine(database).stopped()
    database.close()
    lines = []
    for stream in found:
        lines.append(
            f"{stream.gateway} epoch {stream.epoch}: stopped after {stream.batches} batches"
        )
        lines += [
            f"  another batch {item.seq} came {moment(item.at)} ({item.code})"
            + (f"; the first came {moment(item.booked)}" if item.booked else "")
            for item in stream.contradictions
        ]
    verdict = "nothing is quarantined"
    if found:
        verdict = (
            f"{len(found)} stopped; find the second card. The first one goes on with:"
            f" lamppost-hub quarantine release {root} {found[0].gateway}"
        )
    content = {"stopped": [asdict(stream) for stream in found]}
    finish("hub-quarantine-list", content, lines, verdict, as_json=as_json, ok=not found)


@command.command()
@hub_argument
@click.argument("gateway")
@json_option
def release(root: Path, gateway: str, as_json: bool) -> None:
    """Go on with GATEWAY's stopped epochs, once the other card is out of the world."""
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database
    from lamppost_hub.quarantine import Quarantine

    database = open_database(HubFolder(root))
    epochs = Quarantine(database).release(gateway)
    database.close()
    content = {"gateway": gateway, "epochs": epochs}
    verdict = f"{gateway} goes on; a batch of the other card stops it again"
    finish("hub-quarantine-release", content, [], verdict, as_json=as_json)
