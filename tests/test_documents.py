"""Documents that must say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
AREAS = (
    "broker|ca|config|control|daemon|enrolment|envelope|hub|ledger|link|receipt|receiver|registry|ring|sink|site|store"
    "|trust|uplink"
)
CODE = re.compile(rf'"((?:{AREAS})\.[a-z][a-z0-9-]*)"')
FILES = {"hub.sqlite", "hub.toml", "ring.head", "sink.sqlite"}  # names of files, no codes


def codes_in_source() -> set[str]:
    return {
        code
        for part in ("gateway/lamppost", "hub/lamppost_hub")
        for path in (CHECKOUT / part).rglob("*.py")
        for code in CODE.findall(path.read_text())
    } - FILES


def test_every_error_code_is_documented_and_no_other() -> None:
    rows = (CHECKOUT / "docs/reference/errors.md").read_text().splitlines()
    documented = {row.split("`")[1] for row in rows if row.startswith("| `")}
    assert documented == codes_in_source()


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(CHECKOUT)}: {target}"
        for path in [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []
