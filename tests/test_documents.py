"""Documents that must say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from lamppost.cli.device_skeleton import skeleton
from lamppost.config.load import site
from lamppost.findings.catalogue import ids
from lamppost.findings.page import page
from lamppost_drivers.library import with_site_maps

CHECKOUT = Path(__file__).resolve().parents[1]
AREAS = (
    "archive|audit|broker|bundle|ca|checkpoint|config|control|credential|daemon|device|direct|enrolment|envelope|finding|hub|kit|ledger|link|page|ota|publish|receipt|receiver|registry|ring|seed|sink|site|store"
    "|trust|uplink"
)
CODE = re.compile(rf'"((?:{AREAS})\.[a-z][a-z0-9-]*)"')
NO_CODES = {
    "bundle.json",
    "config.txt",
    "direct.journal",
    "site.json",
    "hub.sqlite",
    "hub.toml",
    "ring.head",
    "seed.toml",
    "sink.sqlite",
    "site.toml",
}  # files
NO_CODES |= {"site.hub", "uplink.certificate"}  # keys of a site file


def codes_in_source() -> set[str]:
    return {
        code
        for part in ("gateway/lamppost", "hub/lamppost_hub", "provisioning/lamppost_kit")
        for path in (CHECKOUT / part).rglob("*.py")
        for code in CODE.findall(path.read_text())
    } - NO_CODES


def test_every_error_code_is_documented_and_no_other() -> None:
    rows = (CHECKOUT / "docs/reference/errors.md").read_text().splitlines()
    documented = {row.split("`")[1] for row in rows if row.startswith("| `")}
    findings = set(ids())  # have a page of their own
    assert documented == codes_in_source() - (findings - documented)


def test_the_page_of_findings_is_what_the_data_files_say() -> None:
    assert (CHECKOUT / "docs/reference/findings.md").read_text() == page(), (
        "make it anew: python -m lamppost.findings.page > docs/reference/findings.md"
    )


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(CHECKOUT)}: {target}"
        for path in [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_site_file_shown_is_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "acme-m3.toml").write_text(skeleton("acme-m3"))  # what "add a device" makes
    find = with_site_maps(tmp_path).find
    shown = [
        block
        for path in [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)
    ]
    whole = [re.sub(r"(?m)^   ", "", block) for block in shown if "[site]" in block]
    assert whole
    for block in whole:
        site(block.encode(), find)


def test_every_command_shown_exists() -> None:
    """`lamppost X` and `lamppost-hub X Y` in a shell block name commands that there are."""
    from lamppost.cli.main import COMMANDS
    from lamppost_hub.cli.main import COMMANDS as HUB_COMMANDS

    for path in [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            for line in block.splitlines():
                words = line.split("#")[0].split()
                if words[:1] == ["lamppost"]:
                    assert words[1] in COMMANDS, f"{path.name}: {line}"
                elif words[:1] == ["lamppost-hub"]:
                    assert words[1] in HUB_COMMANDS, f"{path.name}: {line}"
