"""The list of codes is closed, documented, and every code on it is used."""

from __future__ import annotations

import re

import pytest

from lamppost.envelope.refusal import REFUSALS, EnvelopeError
from lamppost.errors import TrustError
from shared_folder import CHECKOUT

SOURCES = sorted((CHECKOUT / "gateway/lamppost/envelope").glob("*.py"))
CODE = re.compile(r'"((?:envelope|receipt|enrolment)\.[a-z-]+)"')


def test_one_class_with_code_and_hint() -> None:
    for code, hint in REFUSALS.items():
        error = EnvelopeError(code, "why")
        assert isinstance(error, TrustError)
        assert (error.code, error.hint, error.retry, str(error)) == (code, hint, False, "why")
    with pytest.raises(KeyError):
        EnvelopeError("envelope.other", "why")


def test_every_code_in_the_sources_is_on_the_list_and_the_other_way() -> None:
    used = {
        code
        for path in SOURCES
        if path.name != "refusal.py"
        for code in CODE.findall(path.read_text(encoding="utf-8"))
    }
    translated = {code.replace("envelope.", "receipt.") for code in used} & set(REFUSALS)
    assert used <= set(REFUSALS)
    assert used | translated == set(REFUSALS)


@pytest.mark.parametrize("document", ["envelope.md", "receipt.md"])
def test_the_format_documents_name_every_code(document: str) -> None:
    text = (CHECKOUT / "docs/formats" / document).read_text(encoding="utf-8")
    area = ("envelope.", "enrolment.") if document == "envelope.md" else ("receipt.",)
    assert {
        c
        for c in re.findall(r"`((?:envelope|receipt|enrolment)\.[a-z-]+)`", text)
        if c.startswith(area)
    } == {code for code in REFUSALS if code.startswith(area)}
