"""`lamppost bus probe`: links are examined, and what was seen is judged. Ends within ten seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamppost.cli import finding_text
from lamppost.cli.bus import run, via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import Progress, many, say
from lamppost.clock import SystemClock
from lamppost.diagnosis import verdict
from lamppost.diagnosis.facts import Facts, Line
from lamppost.diagnosis.gather import machine
from lamppost.findings import Finding


class Probe:
    """One question, asked once or, after each change by hand, again."""

    def __init__(
        self, socket: Path, state: Path, site: Path, device: str | None, links: tuple[str, ...]
    ) -> None:
        self._found: Reach = reach(socket, state, site, "lamppost bus probe")
        self._device = self._found.device(device) if device else None
        named = (self._device.link,) if self._device else links
        self._links = [link.name for link in self._found.links(named)]

    def once(self, *, as_json: bool) -> int:
        """Examine, judge, print; the exit code."""
        progress = Progress(quiet=as_json)
        clock = SystemClock()
        began = clock.monotonic()
        names = [self._device.name] if self._device else []
        lines: list[Line] = run(self._found.examiner(progress).links(self._links, names), progress)
        took = clock.monotonic() - began
        facts = Facts(
            via=self._found.via, lines=lines, ports=machine.ports(), status=self._told(lines)
        )
        findings = verdict.judge(facts, ["bus"])
        asked = sum(len(line.units) for line in lines)
        well = f"{many(asked, 'device')} on {', '.join(self._links)} asked, all is well"
        closing = finding_text.verdict(findings, well)
        code = verdict.exit_code(findings)
        if as_json:
            _json(self._found, lines, findings, closing, code, took)
        else:
            self._print(lines, findings, closing)
        return code

    def _told(self, lines: list[Line]) -> dict[str, Any] | None:
        """What the daemon says of links that cannot be examined beside it (Bluetooth, pins)."""
        if self._found.status is None:
            return None
        unseen = [line.link for line in lines if not line.tested and not line.code]
        buses = [b for b in self._found.status.get("buses", ()) if b["name"] in unseen]
        devices = self._found.status.get("devices", ())
        named = self._device.name if self._device else ""
        return {
            "buses": buses,
            "devices": [d for d in devices if not named or d["name"] == named],
        }

    def _print(self, lines: list[Line], findings: list[Finding], closing: str) -> None:
        via(self._found.via)
        for line in lines:
            for text in tally(line):
                say(text)
        for each in findings:
            for text in finding_text.lines(each):
                say(text)
        say(finding_text.painted(closing))


def tally(line: Line) -> list[str]:
    """One row a device: how often it answered, and how fast."""
    rows = []
    width = max((len(u.device) for u in line.units), default=0)
    for unit in line.units:
        good = [t for t in unit.trials if t.outcome in ("good", "late")]
        where = f"{line.link}/{unit.unit}" if unit.unit is not None else unit.at or line.link
        if line.kind == "ble":
            said = f"heard {unit.bytes} times in {unit.seconds:g} s, {unit.frames} readable"
        elif unit.pin is not None:
            said = f"{unit.pin.pulses} pulses, {unit.pin.edges} changes in {unit.seconds:g} s"
        elif unit.period:
            said = f"{unit.frames} frames in {unit.seconds:g} s"
        else:
            said = f"{len(good)} of {len(unit.trials)} answers"
            if good:
                said += f", {sorted(t.ms for t in good)[len(good) // 2]:.0f} ms"
        rows.append(f"{unit.device:{width}}  {where:<12} {said}")
    return rows


def _json(
    found: Reach, lines: list[Line], findings: list[Finding], closing: str, code: int, took: float
) -> None:
    import orjson
    from msgspec import to_builtins

    answer: dict[str, Any] = {
        "schema": "lamppost.bus-probe/1",
        "via": found.via,
        "seconds": round(took, 1),
        "ok": code == 0,
        "exit": code,
        "findings": [each.as_dict() for each in findings],
        "lines": to_builtins(lines),
        "verdict": closing,
    }
    say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
