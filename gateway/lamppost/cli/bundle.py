"""`lamppost bundle`: all that a colleague needs to find the fault from afar, without secrets; never sent by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from lamppost.cli.bus import reached
from lamppost.cli.terminal import Progress, paint, say, size, wrapped


@click.group()
def command() -> None:
    """A file for the support: create, inspect."""


@command.command()
@reached
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="where to write it")
@click.option("--no-probe", is_flag=True, help="ask no device")
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.bundle-create/1")
def create(
    socket: Path, state: Path, site: Path, out: Path | None, no_probe: bool, as_json: bool
) -> None:
    """Collect, take secrets out, look again, judge, and write one file. Nothing is sent anywhere."""
    from lamppost.cli import finding_text
    from lamppost.cli.doctor import buffer_of, rows_of
    from lamppost.clock import SystemClock
    from lamppost.diagnosis import bundle, verdict
    from lamppost.diagnosis.collect import Sources, collect
    from lamppost.diagnosis.leased import Leased
    from lamppost.errors import StoreError
    from lamppost.files import durable_write
    from lamppost.findings import AREAS

    progress = Progress(quiet=as_json)
    sources = Sources(socket, state, site, probe=not no_probe)
    facts = asyncio.run(
        collect(
            sources, SystemClock(), AREAS, progress, buffer_of,
            lambda: Leased(socket, "lamppost bundle", 30.0), rows_of,
        )
    )  # fmt: skip
    findings = verdict.judge(facts)
    progress("taking secrets out")
    content = bundle.files(facts, findings, site, state, bundle.journal(), bundle.kernel())
    data = bundle.pack(content, facts.at, bundle.secrets_of(state))
    progress.clear()
    name = facts.config.gateway if facts.config and facts.config.gateway else "gateway"
    path = out or Path(f"lamppost-{name}-{facts.at}.tar.gz")
    try:
        durable_write(path, data)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}",
            code="store.not-written",
            hint="name another place with --out",
        ) from None
    first = verdict.problems(findings)
    said = (
        f"; first finding: {first[0].id} {first[0].subject}".rstrip()
        if first
        else "; no problem found"
    )
    if as_json:
        import orjson

        answer = {
            "schema": "lamppost.bundle-create/1",
            "file": str(path),
            "bytes": len(data),
            "code": bundle.code_of(data),
            "findings": [each.as_dict() for each in findings],
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    for name, content_ in content.items():
        say(f"{size(len(content_)):>9}  {name}")
    say(f"code to read over the phone: {paint(bundle.code_of(data), 'bold')}{said}")
    say(
        finding_text.painted(
            f"OK {path}, {size(len(data))}; nothing was sent. Look: lamppost bundle inspect {path}"
        )
    )


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="one object, schema lamppost.doctor/1")
def inspect(file: Path, as_json: bool) -> None:
    """What is wrong at the gateway that FILE comes from? Needs neither the gateway nor a network."""
    from lamppost.cli.doctor import show
    from lamppost.diagnosis import bundle, verdict
    from lamppost.errors import TrustError
    from lamppost.findings import AREAS

    data = file.read_bytes()
    try:
        content = bundle.unpack(data)
        facts = bundle.facts_of(content)
    except ValueError as wrong:
        raise TrustError(
            f"{file}: {wrong}",
            code="bundle.malformed",
            hint="make it anew at the gateway: lamppost bundle create",
        ) from None
    findings = verdict.judge(facts)
    code = verdict.exit_code(findings)
    if not as_json:
        name = facts.config.gateway if facts.config else ""
        head = f"{name or 'a gateway'}, code {bundle.code_of(data)}, taken at {_utc(facts.at)}"
        for line in wrapped(head):
            say(line)
    show(findings, list(AREAS), verdict.unseen(facts), "bundle", facts.at, code, as_json=as_json)
    if code:
        raise SystemExit(code)


def _utc(at: int) -> str:
    from lamppost.diagnosis.checks.clock import utc_text

    return utc_text(at * 10**9)
