"""`lamppost logs`: the words of the gateway program, by systemd's journal."""

from __future__ import annotations

import os
import shutil

import click

from lamppost.errors import LamppostError


@click.command()
@click.option("-f", "--follow", is_flag=True, help="go on with what comes; Ctrl-C ends it")
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True, help="lines")
@click.option("--ndjson", is_flag=True, help="one object a line, as the journal keeps it")
def command(follow: bool, count: int, ndjson: bool) -> None:
    """What the gateway program wrote."""
    program = shutil.which("journalctl")
    if program is None:
        raise LamppostError(
            "there is no journal on this machine",
            code="daemon.no-journal",
            hint="the program writes to where it was started: lamppost run -v",
        )
    words = [program, "-u", "lamppost", "-n", str(count), "--no-pager", "--quiet"]
    words += ["-o", "json"] if ndjson else ["-o", "short-iso"]
    if follow:
        words.append("-f")
    os.execv(program, words)  # it shows and ends as journalctl does
