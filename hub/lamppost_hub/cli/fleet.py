"""`lamppost-hub fleet list | show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lamppost_hub.cli.main import finish, hub_argument, json_option


@click.group()
def command() -> None:
    """What has arrived, from whom, and what was refused."""


@command.command()
@hub_argument
@json_option
def show(root: Path, as_json: bool) -> None:
    """One line a gateway: batches, readings, gaps, last seen, refusals; then what the embedded sink holds."""
    from lamppost_hub.cli.text import age
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.fleet import look
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database

    folder = HubFolder(root)
    database = open_database(folder)
    found = look(database, folder)
    database.close()
    now = SystemClock().utc()
    lines = []
    for gateway in found.gateways:
        lines.append(
            f"{gateway['gateway']}: {gateway['state']}, {gateway['batches']} batches, {gateway['readings']} readings,"
            f" {gateway['readings_in_gaps']} in gaps, seen {age(gateway['seen_ns'], now)}"
            + (f", {gateway['alerts']} in the alert stream" if gateway["alerts"] else "")
        )
        lines += [f"  refused {code}: {count}" for code, count in gateway["refused"].items()]
        lines += [
            f"  epoch {e['epoch']}: {e['state']}" for e in gateway["epochs"] if e["state"] != "open"
        ]
    lines += [f"unknown senders, refused {code}: {count}" for code, count in found.unknown.items()]
    lines += _sink_lines(found.sink)
    lines += [f"queue to {name}: {count} batches" for name, count in found.queues.items() if count]
    content: dict[str, Any] = {
        "hub": folder.settings().id,
        "gateways": found.gateways,
        "unknown": found.unknown,
        "sink": found.sink,
        "queues": found.queues,
        "dead_letters": found.dead_letters,
    }
    verdict, ok = found.verdict(str(root))
    finish("hub-fleet-show", content, lines, verdict, as_json=as_json, ok=ok)


ORDER = ("quarantined", "offline", "degraded", "late", "unclaimed", "maintenance", "ok", "revoked")


@command.command("list")
@hub_argument
@json_option
def listing(root: Path, as_json: bool) -> None:
    """One line a gateway, the worst first: its state, when it was heard, what is wrong, what it runs."""
    from lamppost_hub.cli.text import age
    from lamppost_hub.clock import SystemClock
    from lamppost_hub.fleet import roll
    from lamppost_hub.folder import HubFolder
    from lamppost_hub.founding import open_database

    database, now = open_database(HubFolder(root)), SystemClock().utc()
    found = sorted(roll(database, now), key=lambda g: (ORDER.index(g["state"]), g["gateway"]))
    database.close()
    lines = [
        f"{g['gateway']:20} {g['state']:11} heard {age(g['heard_ns'], now):10}"
        + (f" {g['version']} serial {g['serial']}" if g["version"] else "")
        + (f"  {', '.join(g['wrong'][:2])}" if g["wrong"] else "")
        for g in found
    ]
    bad = [g for g in found if g["state"] in ORDER[:4]]
    counts = {state: sum(g["state"] == state for g in found) for state in ORDER}
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    verdict = f"{len(found)} gateways: {words}"
    if bad:
        verdict += f"; begin with {bad[0]['gateway']}: lamppost-hub fleet show {root}"
    content = {"gateways": found, "states": counts}
    finish("hub-fleet-list", content, lines, verdict, as_json=as_json, ok=not bad)


def _sink_lines(sink: dict[str, Any]) -> list[str]:
    if not sink["present"]:
        return []
    types = (
        ", ".join(f"{count} {name.rsplit('/', 1)[-1]}" for name, count in sink["entities"].items())
        or "no entities"
    )
    readings = f"{sink['readings']} readings ({sink['reduced']} as long windows)"
    return [f"embedded sink: {types}; {readings}, {sink['duplicates']} twice"]
