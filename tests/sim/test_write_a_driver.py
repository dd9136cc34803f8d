"""docs/how-to/write-a-uart-driver.md as a new user: its files, then every command of it, in its order.

Only `pip install` is replaced: what it leaves behind is written by hand, so that no network is needed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared_folder import CHECKOUT

PAGE = (CHECKOUT / "docs/how-to/write-a-uart-driver.md").read_text(encoding="utf-8")
ENTRY = "import sys; from lamppost.cli import main; sys.exit(main())"


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return [re.sub(r"(?m)^   ", "", block) for block in found]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """The user's folder: the files of the page, and what `pip install --editable .` makes of them."""
    (driver,), (project,) = blocks("python"), blocks("toml")
    (tmp_path / "puck_drivers.py").write_text(driver)
    said = tomllib.loads(project)["project"]
    made = tmp_path / f"puck_drivers-{said['version']}.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {said['name']}\nVersion: {said['version']}\n"
    )
    points = said["entry-points"]["lamppost.drivers"]
    rows = "".join(f"{name} = {where}\n" for name, where in points.items())
    (made / "entry_points.txt").write_text(f"[lamppost.drivers]\n{rows}")
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "COLUMNS": "80", "PYTHONPATH": path}


def typed(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *words], cwd=folder, env=environment(folder),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@contextmanager
def running(folder: Path, *words: str) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, *words], cwd=folder, env=environment(folder),
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_every_command_of_the_page_in_its_order(folder: Path) -> None:
    setup, activate, pip, *quick, sensor, run, watch = commands()
    assert (setup[0], activate[0], pip[:2]) == ("./dev", ".", ["pip", "install"])
    for words in quick:
        code, said = typed(folder, *words[1:])
        assert code == 0, (words, said)
        assert said.splitlines()[-1].startswith("OK "), (words, said)
    with running(folder, *sensor[1:]):
        deadline = time.monotonic() + 30
        while not (folder / "sim/site.toml").exists():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)  # another process starts
        with running(folder, *run[1:]):
            said = ""
            while "23.1" not in said and "-4" not in said:
                assert time.monotonic() < deadline, said + (folder / "log").read_text()
                time.sleep(0.3)
                _, said = typed(folder, *watch[1:], "-n", "1")


def test_the_driver_is_short_and_is_ours_to_refuse(folder: Path) -> None:
    assert len((folder / "puck_drivers.py").read_text().splitlines()) <= 45
    (folder / "puck_drivers.py").write_text("import nowhere\n")
    code, said = typed(folder, "device", "selftest", "puck-p2")
    assert code != 0
    assert "drivers of puck-drivers do not load" in said
    assert typed(folder, "device", "selftest", "sds011")[0] == 0
