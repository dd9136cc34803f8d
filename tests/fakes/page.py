"""A how-to page as a script: its shell blocks, with its places put into a folder of the test."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from shared_folder import CHECKOUT

PROGRAMS = {
    "lamppost": "lamppost.cli",
    "lamppost-hub": "lamppost_hub.cli",
    "lamppost-kit": "lamppost_kit.cli",
}


class Page:
    """`places` are what the page writes and what stands for it here, such as /media/stick-a; longest first."""

    def __init__(self, name: str, folder: Path, places: Mapping[str, str]) -> None:
        self._text = (CHECKOUT / "docs/how-to" / name).read_text(encoding="utf-8")
        self._folder = folder
        self.places = dict(places)
        self.run: list[list[str]] = []

    def commands(self, section: str = "") -> list[list[str]]:
        """The lines of the shell blocks below a heading (or of the whole page), in order."""
        text = self._text
        if section:
            text = text[text.index(f"\n## {section}\n") + 1 :]
            text = text[: (text.index("\n## ") if "\n## " in text else len(text))]
        lines = [
            line.strip()
            for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()
        ]
        return [shlex.split(line, comments=True) for line in lines if line]

    def here(self, words: list[str]) -> list[str]:
        """The command with the places of this test."""
        for place in sorted(self.places, key=len, reverse=True):
            words = [word.replace(place, self.places[place]) for word in words]
        return words

    def call(self, words: list[str], stdin: str = "") -> str:
        """Run one command of the page; fails the test unless it ends well. Returns what it printed."""
        self.run.append(words)
        command = self.here(words)
        if command[0] == "cp":
            shutil.copytree(command[2], command[3], dirs_exist_ok=True)
            return ""
        done = subprocess.run(
            program(command), cwd=self._folder, input=stdin, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert done.stdout.splitlines()[-1].startswith("OK "), done.stdout
        return done.stdout


def program(words: list[str]) -> list[str]:
    """A command as this checkout's Python runs it."""
    code = f"import sys; from {PROGRAMS[words[0]]} import main; sys.exit(main())"
    return [sys.executable, "-c", code, *words[1:]]
