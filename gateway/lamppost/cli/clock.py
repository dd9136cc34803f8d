"""`lamppost clock`: what this gateway knows of the time, and waiting until it is right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamppost.cli.bus import reached
from lamppost.cli.terminal import Progress, paint, say

if TYPE_CHECKING:
    from lamppost.diagnosis.facts import Facts


@click.group()
def command() -> None:
    """The time: show, wait."""


@command.command()
@reached
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.clock-show/1")
def show(socket: Path, state: Path, site: Path, as_json: bool) -> None:
    """The clock, how far it may be trusted, and the time that has passed for certain."""
    from lamppost.cli.looks import look

    code = look(
        "lamppost.clock-show/1", ["clock"], _rows, _well,
        socket=socket, state=state, site=site, as_json=as_json,
    )  # fmt: skip
    if code:
        raise SystemExit(code)


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    from lamppost.diagnosis.checks.clock import utc_text

    clock = facts.clock
    if clock is not None:
        yield "now", utc_text(clock.now)
        yield "state", clock.state
        yield "floor", f"{utc_text(clock.floor)} has passed for certain"


def _well(facts: Facts) -> str:
    return f"the clock is {facts.clock.state}" if facts.clock else "no clock"


@command.command()
@reached
@click.option("--for", "span", default="5min", show_default=True, help="how long at most")
def wait(socket: Path, state: Path, site: Path, span: str) -> None:
    """Wait until a time server has set the clock. Exit 1 where that did not happen."""
    from lamppost.cli.bus import seconds_of
    from lamppost.clock import SystemClock
    from lamppost.diagnosis.gather import program

    del socket, site
    clock, progress = SystemClock(), Progress()
    end = clock.monotonic() + seconds_of(span)
    while (found := program.clock(state, clock)).state != "synced" and clock.monotonic() < end:
        progress(f"clock {found.state}, {end - clock.monotonic():.0f} s to go")
        asyncio.run(clock.sleep_until(min(end, clock.monotonic() + 1.0)))
    progress.clear()
    if found.state != "synced":
        say(paint(f"PROBLEM clock.{found.state}; type: lamppost doctor clock net", "bad"))
        raise SystemExit(1)
    say(paint("OK the clock is synced", "good"))
