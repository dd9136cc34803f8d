"""`lamppost sensors test`: a device is asked on its wire, or waited for on the air, and its values are judged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from lamppost.cli import finding_text
from lamppost.cli.bus import run, via
from lamppost.cli.bus_probe import tally
from lamppost.cli.reach import ON_WIRE, Reach, reach
from lamppost.cli.sensors_read import read_here
from lamppost.cli.terminal import Progress, say
from lamppost.diagnosis import verdict
from lamppost.diagnosis.facts import Facts, Line
from lamppost.diagnosis.gather import machine
from lamppost.findings import Finding, found


def show(socket: Path, state: Path, site: Path, name: str | None, *, as_json: bool) -> None:
    """Ask, judge, print; exit by the first finding."""
    reached = reach(socket, state, site, "lamppost sensors test")
    devices = [reached.device(name)] if name else list(reached.site.device)
    kinds = {link.name: link.kind for link in reached.site.link}
    wired = sorted({d.link for d in devices if kinds[d.link] in ON_WIRE})
    progress = Progress(quiet=as_json)
    names = [d.name for d in devices] if name else []
    lines: list[Line] = []
    if wired:
        lines = run(reached.examiner(progress).links(wired, names), progress)
    facts = Facts(via=reached.via, status=_only(reached, names), lines=lines, ports=machine.ports())
    findings = verdict.judge(facts, ["bus", "sensors"])
    if name:
        findings = [f for f in findings if f.subject in (name, devices[0].link, devices[0].name)]
    rest = [d for d in devices if kinds[d.link] not in ON_WIRE and reached.status is None]
    for device in rest:
        progress(f"waiting for {device.name}")
        values = asyncio.run(read_here(reached, device, 1, state))
        progress.clear()
        if not any(r["quality"] == "good" for sample in values for r in sample.values()):
            why = "nothing was heard of it"
            findings.append(
                found(
                    "sensors.unmeasured", device.name, device=device.name, link=device.link, why=why
                )
            )
    _finish(reached, lines, findings, len(devices), as_json=as_json)


def _only(reached: Reach, names: list[str]) -> dict[str, Any] | None:
    if reached.status is None:
        return None
    kept = [d for d in reached.status["devices"] if not names or d["name"] in names]
    return {**reached.status, "devices": kept}


def _finish(
    reached: Reach, lines: list[Line], findings: list[Finding], count: int, *, as_json: bool
) -> None:
    closing = finding_text.verdict(findings, f"{count} device{'s' if count > 1 else ''} tested")
    code = verdict.exit_code(findings)
    if as_json:
        answer = {
            "schema": "lamppost.sensors-test/1",
            "via": reached.via,
            "ok": code == 0,
            "exit": code,
            "findings": [each.as_dict() for each in findings],
            "verdict": closing,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        via(reached.via)
        for line in lines:
            for row in tally(line):
                say(row)
        for each in findings:
            for text in finding_text.lines(each):
                say(text)
        say(finding_text.painted(closing))
    if code:
        raise SystemExit(code)
