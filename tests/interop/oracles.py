"""The other side's libraries, each in an environment of its own, made from the public registries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CWT = "cwt==3.3.0"
AUTH0 = "@auth0/cose@1.0.2"


class Oracle:
    """A process that is given tasks and gives answers; a refusal is an answer {"refused": why}."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = list(command)

    def ask(self, *tasks: dict[str, Any]) -> list[dict[str, str]]:
        done = subprocess.run(
            self._command, input=json.dumps(tasks), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, str]] = json.loads(done.stdout)
        return answers


def cwt(folder: Path) -> Oracle:
    """`cwt` in a virtual environment: it wants another cbor2 than Lamppost."""
    python = folder / "bin" / "python"
    _made([sys.executable, "-m", "venv", str(folder)], "no virtual environment")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CWT]
    _made(pip, f"{CWT} cannot be installed (no Python index?)")
    return Oracle("cwt", [str(python), str(HERE / "oracle_cwt.py")])


def auth0(folder: Path) -> Oracle:
    """`@auth0/cose` in a folder of its own."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    (folder / "package.json").write_text("{}")
    install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", AUTH0]
    _made([*install, "--prefix", str(folder)], f"{AUTH0} cannot be installed (no npm registry?)")
    return Oracle("@auth0/cose", [node, str(HERE / "oracle_auth0.mjs"), str(folder)])


def _made(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as failed:
        pytest.skip(f"{what}: {failed}")
    if done.returncode:
        pytest.skip(f"{what}: {(done.stderr or done.stdout)[-300:]}")
