"""What commands that look at some areas share: facts are gathered and judged, rows and findings shown, verdict last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lamppost.cli import finding_text
from lamppost.cli.terminal import Progress, paint, say, wrapped
from lamppost.clock import SystemClock
from lamppost.diagnosis import verdict
from lamppost.diagnosis.collect import Sources, collect
from lamppost.diagnosis.facts import Facts

Rows = Callable[[Facts], Iterable[tuple[str, str]]]


def look(
    schema: str,
    areas: Sequence[str],
    rows: Rows,
    well: Callable[[Facts], str],
    *,
    socket: Path,
    state: Path,
    site: Path,
    as_json: bool,
    tries: int = 1,
) -> int:
    """Gather `areas`, print `rows` (label and text) and findings; the exit code."""
    progress = Progress(quiet=as_json)
    sources = Sources(socket, state, site, probe=False, tries=tries)
    facts = asyncio.run(collect(sources, SystemClock(), areas, progress))
    progress.clear()
    findings = verdict.judge(facts, areas)
    code = verdict.exit_code(findings)
    closing = finding_text.verdict(findings, well(facts))
    shown = list(rows(facts))
    if as_json:
        import orjson

        answer: dict[str, Any] = {
            "schema": schema,
            "via": facts.via,
            "ok": code == 0,
            "exit": code,
            "rows": dict(shown),
            "findings": [each.as_dict() for each in findings],
            "verdict": closing,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return code
    say(paint(f"via: {facts.via}", "dim"))
    label = max((len(name) for name, _ in shown), default=0) + 2
    for name, text in shown:
        for line in wrapped(text, f"{name:{label}}"):
            say(line)
    for each in findings:
        for line in finding_text.lines(each):
            say(line)
    say(finding_text.painted(closing))
    return code
