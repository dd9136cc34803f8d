"""Findings for people: in full and first, then one verdict, which names the most important and what to type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamppost.cli.terminal import WIDEST, paint, wrapped
from lamppost.findings import Finding

_SURE = {"proof": "proved", "likely": "likely", "suspect": "suspicion", "open": "cause open"}


def lines(finding: Finding) -> Iterator[str]:
    """One finding: what, why we think so, what it may be, what to do."""
    word, style = ("WARNING", "warn") if finding.is_warning else ("PROBLEM", "bad")
    subject = f" {finding.subject}" if finding.subject else ""
    head = list(wrapped(f"{word} {finding.id}{subject} ({_SURE[finding.sure]})"))
    yield paint(head[0], style)
    yield from (paint(line, style) for line in head[1:])
    yield from wrapped(finding.title, indent=2)
    yield from wrapped(finding.evidence, "seen   ", indent=2)
    ranked = finding.sure == "open" or len(finding.causes) > 1
    for number, cause in enumerate(finding.causes, 1):
        label = ("maybe  " if number == 1 else "       ") if ranked else "cause  "
        mark = f"{number} " if ranked else ""
        yield from wrapped(f"{cause.cause} [{cause.tell}]", f"{label}{mark}", indent=2)
    yield from (paint(line, "bold") for line in wrapped(finding.next, "next   ", indent=2))


def verdict(findings: Sequence[Finding], well: str) -> str:
    """The closing line: OK and why, or the first problem and the command to type next."""
    wrong = [each for each in findings if not each.is_warning]
    if not wrong:
        warned = len(findings)
        more = f", {warned} warning{'s' if warned > 1 else ''}" if warned else ""
        return f"OK {well}{more}"
    first, more = wrong[0], f" (+{len(wrong) - 1})" if len(wrong) > 1 else ""
    subject = f" {first.subject}" if first.subject else ""
    command = f"lamppost explain {first.id}"
    forms = (
        f"PROBLEM {first.id}{subject}{more}; type: {command}",
        f"PROBLEM {first.id}{more}; type: {command}",
        f"PROBLEM {first.id}{more}; {command}",
    )
    return next((form for form in forms if len(form) <= WIDEST), f"PROBLEM {first.id}; {command}")


def painted(closing: str) -> str:
    """A verdict in its colour."""
    return paint(closing, "good" if closing.startswith("OK") else "bad")
