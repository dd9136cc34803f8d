"""`lamppost config`: what a site file says, which one runs, and what was tried."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from lamppost.cli import config_trial
from lamppost.cli.terminal import many, wrapped


@click.group()
def command() -> None:
    """Site files, and the signed configuration of this gateway."""


@command.command()
@click.argument(
    "files",
    metavar="FILE…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--json", "as_json", is_flag=True, help="one object a file, schema lamppost.config-check/1"
)
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILE and name all its problems at once. Opens no port."""
    from lamppost.acquire import site_file
    from lamppost.cli.main import EXIT_CONFIG
    from lamppost.config.problems import Problem, SiteInvalid

    bad = False
    for file in files:
        problems: tuple[Problem, ...] = ()
        words = ""
        try:
            found, _ = site_file.read(file)
            words = f"{many(len(found.link), 'link')}, {many(len(found.device), 'device')}"
        except SiteInvalid as refused:
            problems = refused.problems
        bad = bad or bool(problems)
        if as_json:
            option = 0 if len(files) > 1 else orjson.OPT_INDENT_2
            click.echo(orjson.dumps(_answer(file, problems), option=option).decode())
            continue
        for problem in problems:
            said = str(problem)
            for line in wrapped(said) if sys.stdout.isatty() else (said,):
                click.echo(line)
        if problems:
            click.echo(
                f"PROBLEM {many(len(problems), 'problem')} in {file}: mend the keys named above"
            )
        else:
            click.echo(f"OK {file}: {words}")
    if bad:
        raise SystemExit(EXIT_CONFIG)


def _answer(file: Path, problems: object) -> dict[str, object]:
    return {
        "schema": "lamppost.config-check/1",
        "file": str(file),
        "ok": not problems,
        "problems": problems,
    }


for _command in config_trial.COMMANDS:
    command.add_command(_command)
