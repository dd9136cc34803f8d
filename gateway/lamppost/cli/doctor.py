"""`lamppost doctor`: every check, by the daemon or without it; failures in full and first, the verdict last."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from lamppost.cli.main import site_option, socket_option, state_option
from lamppost.cli.terminal import Progress, paint, say, wrapped
from lamppost.findings import AREAS

_NEWEST = 60_000
"""Readings of the ring that are looked through."""


@click.command()
@click.argument("areas", nargs=-1, type=click.Choice(AREAS), metavar="[AREA]...")
@socket_option
@state_option
@site_option
@click.option("--no-probe", is_flag=True, help="ask no device; look only at what is known")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    help="look at another system's files, such as a card in a reader",
)
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.doctor/1")
def command(
    areas: tuple[str, ...],
    socket: Path,
    state: Path,
    site: Path,
    no_probe: bool,
    root: Path,
    as_json: bool,
) -> None:
    """Check everything, or only the AREAs named: host power storage clock net modem uplink trust config buffer bus
    sensors. Devices in trouble are asked more closely; nothing is ever written to them.
    """
    from lamppost.clock import SystemClock
    from lamppost.diagnosis import verdict
    from lamppost.diagnosis.collect import Sources, collect
    from lamppost.diagnosis.leased import Leased

    wanted = [area for area in AREAS if area in areas] or list(AREAS)
    progress = Progress(quiet=as_json)
    memory = Path(click.get_app_dir("lamppost")) / "disk.json"
    sources = Sources(socket, state, site, root, probe=not no_probe, memory=memory)
    facts = asyncio.run(
        collect(
            sources,
            SystemClock(),
            wanted,
            progress,
            buffer_of,
            lambda: Leased(socket, "lamppost doctor", 30.0),
            rows_of,
        )
    )
    progress.clear()
    found = verdict.judge(facts, wanted)
    code = verdict.exit_code(found)
    blind = verdict.unseen(facts, wanted)
    show(found, wanted, blind, facts.via, facts.at, code, as_json=as_json)
    if code:
        raise SystemExit(code)


def show(
    found: Any,
    wanted: list[str],
    blind: list[str],
    via: str,
    at: int,
    code: int,
    *,
    as_json: bool,
) -> None:
    """Print what was found."""
    from lamppost.cli import finding_text

    bad = {each.id.partition(".")[0] for each in found}
    well = [area for area in wanted if area not in bad and area not in blind]
    closing = finding_text.verdict(
        found, f"{', '.join(wanted)}" if len(wanted) < 5 else "all areas"
    )
    if as_json:
        import orjson

        answer = {
            "schema": "lamppost.doctor/1",
            "via": via,
            "at": at,
            "ok": code == 0,
            "exit": code,
            "areas": {area: _word(area, bad, blind) for area in wanted},
            "findings": [each.as_dict() for each in found],
            "verdict": closing,
        }
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    say(paint(f"via: {via}", "dim"))
    for each in found:
        for line in finding_text.lines(each):
            say(line)
        say()
    for label, names in (("well   ", well), ("unseen ", [a for a in blind if a not in bad])):
        for line in wrapped(" ".join(names), label) if names else ():
            say(line)
    say(finding_text.painted(closing))


def _word(area: str, bad: set[str], blind: list[str]) -> str:
    return "problem" if area in bad else "unseen" if area in blind else "ok"


def rows_of(state: Path) -> list[Any]:
    """The newest readings of the ring; none where this user may not read them."""
    from lamppost.cli import card
    from lamppost.errors import LamppostError

    try:
        with card.opened(state) as ring:
            return list(card.rows(ring, state, max(-1, ring.last - _NEWEST), []))
    except (LamppostError, OSError):
        return []


def buffer_of(state: Path) -> dict[str, Any] | None:
    """The ring's report from its files, where no daemon answers for it."""
    from lamppost.cli import card
    from lamppost.errors import LamppostError
    from lamppost.status.report import buffer_report

    try:
        with card.opened(state) as ring:
            return buffer_report(ring.stats(), ring.head(), via="direct")
    except (LamppostError, OSError):
        return None
