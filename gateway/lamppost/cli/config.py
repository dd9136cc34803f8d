"""`lamppost config`: what a site file says, before anything runs it."""

from __future__ import annotations

from pathlib import Path

import click
import orjson


@click.group()
def command() -> None:
    """Site files."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.config-check/1")
def check(file: Path, as_json: bool) -> None:
    """Check FILE and name all its problems at once. Opens no port."""
    from lamppost.acquire import site_file
    from lamppost.cli.main import EXIT_CONFIG
    from lamppost.config.problems import Problem, SiteInvalid

    problems: tuple[Problem, ...] = ()
    try:
        found, _ = site_file.read(file)
    except SiteInvalid as refused:
        problems = refused.problems
    if as_json:
        answer = {
            "schema": "lamppost.config-check/1",
            "file": str(file),
            "ok": not problems,
            "problems": problems,
        }
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        for problem in problems:
            click.echo(str(problem))
        if problems:
            word = "problem" if len(problems) == 1 else "problems"
            click.echo(f"PROBLEM {len(problems)} {word} in {file}: mend the keys named above")
        else:
            click.echo(f"OK {file}: {len(found.link)} links, {len(found.device)} devices")
    if problems:
        raise SystemExit(EXIT_CONFIG)
