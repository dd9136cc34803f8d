"""`lamppost explain`: the page of a finding, offline; the same source as docs/reference/findings.md."""

from __future__ import annotations

import click

from lamppost.cli.terminal import paint, say, wrapped


@click.command()
@click.argument("finding", required=False)
@click.option("--list", "listed", is_flag=True, help="all ids with their titles")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.explain/1")
def command(finding: str | None, listed: bool, as_json: bool) -> None:
    """What FINDING means, what may cause it, what to do. Errors' codes are in docs/reference/errors.md."""
    from lamppost.findings import catalogue

    if finding is None and not listed:
        raise click.UsageError("name a finding, such as bus.silent-unit, or use --list")
    if as_json:
        _json([catalogue.entry(finding)] if finding else list(catalogue.entries()))
        return
    if finding is None:
        for each in catalogue.entries():
            say(f"{each.id:30} {each.title}"[: max(40, 80)])
        say(f"OK {len(catalogue.ids())} findings; type: lamppost explain ID")
        return
    page = catalogue.entry(finding)
    say(paint(page.id, "bold"))
    for line in wrapped(f"{page.title} ({catalogue.SURE[page.sure]})."):
        say(line)
    say()
    for line in wrapped(page.evidence, "seen  "):
        say(line)
    for number, cause in enumerate(page.causes, 1):
        for line in wrapped(cause.cause, f"{number:>2}. "):
            say(line)
        for line in wrapped(cause.tell, "    told by: "):
            say(line)
    for line in wrapped(page.next, "next  "):
        say(line)
    say(f"OK more: docs/reference/findings.md, {page.id}")


def _json(entries: list[object]) -> None:
    from dataclasses import asdict

    import orjson

    found = [asdict(each) for each in entries]  # type: ignore[call-overload]
    answer = {"schema": "lamppost.explain/1", "findings": found}
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
