"""The model of the protocol holds, and the checker finds every mistake that is planted in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[3] / "docs/formats/model"


@pytest.mark.long
def test_the_protocol_holds_and_every_planted_mistake_is_found() -> None:
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt-get install spin gcc)")
    checked = subprocess.run(
        [MODEL / "check.sh"], capture_output=True, text=True, timeout=3600, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rows = checked.stdout.splitlines()[1:]
    assert sum(" holds " in row for row in rows) == 4
    assert sum(" found " in row for row in rows) == 9


def test_every_planted_mistake_of_the_model_is_tried() -> None:
    head = (MODEL / "delivery.pml").read_text().split("*/")[0]
    listed = head.split("One mistake of an implementation each:")[1].split(".")[0]
    mistakes = set(listed.replace("*", " ").split())
    script = (MODEL / "check.sh").read_text()
    assert len(mistakes) == 9
    assert all(f"-D{mistake}" in script for mistake in mistakes)


def test_the_model_names_code_that_exists() -> None:
    head = (MODEL / "delivery.pml").read_text().split("*/")[0]
    root = MODEL.parents[2]
    for word in head.replace(",", " ").split():
        if word.startswith(("gateway/", "hub/")):
            assert (root / word).is_file(), word
