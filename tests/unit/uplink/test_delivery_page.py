"""The page that explains delivery draws the transition table and lists every code."""

from __future__ import annotations

import re
from pathlib import Path

from lamppost.uplink.faults import HINTS
from lamppost.uplink.window import NEXT

PAGE = Path(__file__).parents[3] / "docs/explanation/delivery.md"


def test_the_diagram_is_the_table() -> None:
    drawing = PAGE.read_text().split("<!-- transitions of window.NEXT -->")[1].split("```")[1]
    arrows = re.findall(r"^ +(\w+) --> (\w+): (.+)$", drawing, re.MULTILINE)
    assert sorted(arrows) == sorted((start, to, event) for (start, event), to in NEXT.items())


def test_every_code_is_explained() -> None:
    explained = set(re.findall(r"`(uplink\.[a-z-]+)`", PAGE.read_text()))
    assert explained == set(HINTS)
