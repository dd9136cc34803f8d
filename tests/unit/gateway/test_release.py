"""A release has one number and one date: changelog, version and the first time floor say the same."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from lamppost import RELEASED_NS, __version__

CHANGELOG = Path(__file__).parents[3] / "CHANGELOG.md"
_HEADING = re.compile(r"^## (\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)$", re.MULTILINE)


def wrong(changelog: str, version: str, released_ns: int) -> str:
    """What does not fit together, in the words of whoever makes a release; empty if all does."""
    headings = _HEADING.findall(changelog)
    if len(headings) != len(re.findall(r"^## ", changelog, re.MULTILINE)) or not headings:
        return "every heading of CHANGELOG.md is `## X.Y.Z (YYYY-MM-DD)` or `(unreleased)`"
    newest, state = headings[0]
    if newest != version:
        return f"CHANGELOG.md begins with {newest}, lamppost.__version__ is {version}"
    if any(when == "unreleased" for _, when in headings[1:]):
        return "an older version of CHANGELOG.md has no date"
    dates = [_ns(when) for _, when in headings if when != "unreleased"]
    if state != "unreleased" and released_ns != dates[0]:
        return f"{version} is of {state}: set lamppost.RELEASED_NS to {dates[0]} (time floor)"
    if dates and released_ns < dates[0]:
        return f"lamppost.RELEASED_NS lies before the newest release: set it to {dates[0]}"
    return ""


def _ns(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 10**9


def test_changelog_version_and_time_floor_agree() -> None:
    assert wrong(CHANGELOG.read_text(), __version__, RELEASED_NS) == ""


def test_a_release_that_forgets_one_of_them_is_noticed() -> None:
    old, new = _ns("2026-01-01"), _ns("2026-03-01")
    assert wrong("## 1.0.0 (2026-03-01)\n", "1.0.0", new) == ""
    assert "RELEASED_NS to" in wrong("## 1.0.0 (2026-03-01)\n", "1.0.0", old)
    assert "__version__" in wrong("## 1.1.0 (unreleased)\n", "1.0.0", old)
    both = "## 1.1.0 (unreleased)\n\n## 1.0.0 (2026-03-01)\n"
    assert wrong(both, "1.1.0", new) == ""
    assert "before the newest" in wrong(both, "1.1.0", old)
    assert "no date" in wrong("## 1.1.0 (2026-04-01)\n## 1.0.0 (unreleased)\n", "1.1.0", new)
    assert "heading" in wrong("## next\n", "1.0.0", old)
