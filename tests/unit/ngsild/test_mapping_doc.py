"""docs/reference/ngsi-ld-mapping.md says what the tables say. LAMPPOST_WRITE_DOCS=1 writes it anew."""

from __future__ import annotations

import os
import re

from lamppost.ngsild.normalized import local_name
from lamppost.ngsild.terms import FAMILIES, GENERIC, Family, Term
from lamppost.ngsild.units import SYMBOLS
from shared_folder import CHECKOUT

PAGE = CHECKOUT / "docs" / "reference" / "ngsi-ld-mapping.md"
PHASE = re.compile(r"\.l([123])$")


def _row(name: str, term: Term | None) -> str:
    if term is None:
        return f"| `{name}` | DeviceMeasurement · numValue | as measured | |"
    attribute = local_name(term.iri) + (f".{term.member}" if term.member else "")
    codes = " or ".join(code or "–" for code in term.codes)
    notes = []
    if term.low is not None and term.high is not None:
        notes.append(f"{term.low:g} to {term.high:g}")
    elif term.low is not None:
        notes.append(f"not below {term.low:g}")
    notes += ["whole number"] * term.whole + ["0 to 360"] * term.turn
    if term.take != "usual":
        notes.append({"last": "newest value, no mean", "delta": "what was counted"}[term.take])
    return f"| `{name}` | {attribute} | {codes} | {', '.join(notes)} |"


def _family(family: Family) -> list[str]:
    lines = ["", f"### {family.name}: {local_name(family.type)}", "", f"`{family.type}`", ""]
    signature = sorted({PHASE.sub(".lN", name) for name in family.signature})
    if len(signature) > 12:
        lines.append(
            "A device with any of the points below but temperature, humidity and pressure."
        )
    else:
        lines.append(f"A device with {', '.join(f'`{name}`' for name in signature)}.")
    lines += ["", "| point | attribute | unitCode | |", "|---|---|---|---|"]
    seen: dict[str, None] = {}
    for name, term in family.terms.items():
        row = _row(name, term)
        if PHASE.search(name):
            row = row.replace(f"`{name}`", f"`{PHASE.sub('.lN', name)}`").replace(
                f".L{name[-1]} ", ".LN "
            )
        seen[row] = None
    return lines + list(seen)


def tables() -> str:
    """Everything between the two markers of the page."""
    lines: list[str] = []
    for family in (*FAMILIES, GENERIC):
        if family is not GENERIC:
            lines += _family(family)
    lines += ["", "### Units", "", "| symbol | unitCode | measures |", "|---|---|---|"]
    lines += [f"| {s} | {u.code or '–'} | {u.dimension} |" for s, u in SYMBOLS.items()]
    return "\n".join(lines).strip()


def test_the_page_is_the_table() -> None:
    begin, end = "<!-- tables: begin -->\n", "\n<!-- tables: end -->"
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    if os.environ.get("LAMPPOST_WRITE_DOCS"):
        PAGE.write_text(head + begin + tables() + end + tail, encoding="utf-8")
    assert tables() == PAGE.read_text(encoding="utf-8").split(begin)[1].split(end)[0]
