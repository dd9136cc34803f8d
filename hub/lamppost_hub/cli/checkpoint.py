"""`lamppost-hub checkpoint`."""

from __future__ import annotations

from pathlib import Path

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.command()
@hub_argument
@click.option("--all", "everything", is_flag=True, help="also logs with a checkpoint of today")
@json_option
def command(root: Path, everything: bool, as_json: bool) -> None:
    """Sign what every gateway's log is now, as notes in DIR/checkpoints; the receiver does it once a day (UTC)."""
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_checkpoints, open_database
    from lamppost_hub.ledger import Ledger

    folder = HubFolder(root)
    database = open_database(folder)
    checkpoints, utc = open_checkpoints(folder, database), SystemClock().utc()
    streams = Ledger(database).streams() if everything else checkpoints.due(utc)
    made = [checkpoints.make(s.gateway, s.epoch, utc) for s in streams if s.size]
    database.close()
    rows = [
        {
            "gateway": one.checkpoint.gateway,
            "epoch": one.checkpoint.epoch,
            "size": one.checkpoint.size,
            "root": one.checkpoint.root.hex(),
            "file": str(one.path),
            "new": one.new,
        }
        for one in made
    ]
    lines = [
        f"{one.checkpoint.gateway} {one.checkpoint.epoch}: {one.checkpoint.size} batches, {one.path}"
        for one in made
    ]
    verdict = f"{sum(one.new for one in made)} checkpoints made"
    finish("hub-checkpoint", {"checkpoints": rows}, lines, verdict, as_json=as_json)
