"""`lamppost refused`: what a broker would not take is listed with its reason, and offered again by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamppost.cli.main import main
from lamppost.uplink.refused import Box


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str]]:
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, capsys.readouterr().out.splitlines()


def letter(number: int) -> list[dict[str, Any]]:
    problem = {"type": "BadRequestData", "detail": "no such attribute"}
    return [{"status": 400, "problem": problem, "entity": {"id": f"urn:x:{number}"}}]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Box(tmp_path / "refused").keep("e1/3-3", letter(1) + letter(2))
    (tmp_path / "alerts").mkdir()
    Box(tmp_path / "alerts" / "refused").keep("e2/0-0", letter(3))
    return tmp_path


def test_nothing_refused_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "refused", "list", "--state", tmp_path) == (0, ["OK none"])


def test_readings_and_alerts_are_listed_with_the_brokers_reason(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(capsys, "refused", "list", "--state", state)
    assert code == 1
    assert lines[0] == "e1/3-3  2 entities"
    assert "no such attribute" in lines[2]
    assert lines[-1] == "3 entities of 2 batches"
    _, text = said(capsys, "refused", "list", "--state", state, "--json")
    found = json.loads("\n".join(text))
    assert [item["job"] for item in found["letters"]] == ["e1/3-3", "e2/0-0"]


def test_again_by_name_and_all_together(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = said(capsys, "refused", "retry", "e2/0-0", "--state", state)
    assert (code, lines[-1][:4]) == (0, "OK 1")
    assert [x.again for x in Box(state / "alerts" / "refused").letters()] == [True]
    assert [x.again for x in Box(state / "refused").letters()] == [False]
    assert said(capsys, "refused", "retry", "--state", state)[1][-1].startswith("OK 2")
    assert [x.again for x in Box(state / "refused").letters()] == [True]
    code, lines = said(capsys, "refused", "retry", "e9/0-0", "--state", state)
    assert (code, lines[-1].split(":")[0]) == (1, "PROBLEM direct.no-letter")
