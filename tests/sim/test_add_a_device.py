"""docs/how-to/add-a-device.md, step by step as a new user: every command in it is run, in its order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared_folder import CHECKOUT

PAGE = (CHECKOUT / "docs/how-to/add-a-device.md").read_text(encoding="utf-8")
STEPS = PAGE[PAGE.index("## A Modbus device") : PAGE.index("A whole map, with all")]
PROGRAMS = {"lamppost": "lamppost.cli"}
ENVIRONMENT: Mapping[str, str] = {**os.environ, "COLUMNS": "80"}


def commands() -> list[list[str]]:
    """The lines of the page's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", STEPS, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def program(words: list[str]) -> list[str]:
    """A command as this checkout's Python runs it."""
    if words[0] not in PROGRAMS:
        return words
    code = f"import sys; from {PROGRAMS[words[0]]} import main; sys.exit(main())"
    return [sys.executable, "-c", code, *words[1:]]


def called(words: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        program(words), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


@contextmanager
def running(words: list[str], folder: Path) -> Iterator[None]:
    """A command that goes on until it is ended."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            program(words), cwd=folder, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_every_command_of_the_page_in_its_order(tmp_path: Path) -> None:
    (site,) = re.findall(r"```toml\n(.*?)```", STEPS, re.DOTALL)
    (tmp_path / "site.toml").write_text(re.sub(r"(?m)^   ", "", site))
    *quick, meter, check, run, status, read = commands()
    assert (meter[1:3], run[1], status[1]) == (["device", "sim"], "run", "status")
    for words in quick:
        code, said = called(words, tmp_path)
        assert code == 0, (words, said)
        assert words[0] == "mkdir" or said.splitlines()[-1].startswith("OK "), (words, said)
        assert max(map(len, said.splitlines()), default=0) <= 80
    with running(meter, tmp_path):
        code, said = called(check, tmp_path)
        assert (code, said) == (0, "OK site.toml: 1 link, 1 device\n")
        with running(run, tmp_path):
            deadline = time.monotonic() + 25
            while not re.search(r"(?s)ring +[1-9].*answer +1 of 1: meter", said):
                assert time.monotonic() < deadline, said + (tmp_path / "log").read_text()
                time.sleep(0.3)  # another process starts
                _, said = called(status, tmp_path)
            code, values = called(read, tmp_path)
            assert code == 0
            assert re.search(r"voltage.l1 +230\.2 V", values)
    assert "PROBLEM " in said.splitlines()[-1], "no hub: the page says so"
