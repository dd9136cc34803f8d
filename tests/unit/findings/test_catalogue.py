"""The data files are whole: every entry can be read, shown and filled, and every check's id has a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamppost.findings import catalogue
from lamppost.findings.catalogue import AREAS, SURE, Entry, UnknownFinding

DIAGNOSIS = Path(catalogue.__file__).parents[1] / "diagnosis"
ENTRIES = list(catalogue.entries())


@pytest.mark.parametrize("page", ENTRIES, ids=[e.id for e in ENTRIES])
def test_every_entry_says_what_to_do(page: Entry) -> None:
    assert page.area in AREAS
    assert page.sure in SURE
    assert page.title
    assert page.title[0].isupper()
    assert not page.title.endswith(".")
    assert page.evidence
    assert page.causes
    assert page.next
    assert len(page.next) < 220
    if page.sure == "open":
        assert len(page.causes) > 1 or page.rank >= 700, "an open cause has more than one"


def test_ids_are_unique() -> None:
    ids = catalogue.ids()
    assert len(set(ids)) == len(ids)


def test_every_id_that_a_check_names_has_a_page_and_every_page_a_check() -> None:
    sources = [p.read_text() for p in DIAGNOSIS.rglob("*.py")]
    sources += [p.read_text() for p in (DIAGNOSIS.parent / "cli").glob("*.py")]
    areas = "|".join(AREAS)
    named = set(re.findall(rf'"((?:{areas})\.[a-z0-9-]+)"', " ".join(sources)))
    assert set(catalogue.ids()) <= named


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(UnknownFinding) as refused:
        catalogue.entry("bus.silent-units")
    assert "bus.silent-unit" in refused.value.hint
    with pytest.raises(UnknownFinding):
        catalogue.entry("nonsense")


def test_fields_are_filled_in_every_text() -> None:
    found = catalogue.found(
        "bus.wrong-parity",
        "m",
        device="m",
        link="a",
        set="9600 8N1",
        found="9600 8E1",
        parity="E",
        baud="9600",
    )
    assert (
        found.evidence == "m does not answer at 9600 8N1, and answers with a good check at 9600 8E1"
    )
    assert 'parity = "E"' in found.next
    with pytest.raises(KeyError):
        catalogue.found("bus.wrong-parity")
