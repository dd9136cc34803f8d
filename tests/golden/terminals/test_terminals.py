"""Screens stay as they were judged good, and fit every terminal of the field. `capture.py --write` makes them anew."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lamppost.cli.watch import Screen

HERE = Path(__file__).parent
JSON = sorted(HERE.glob("*json.*.txt"))
FILES = sorted(set(HERE.glob("*.txt")) - set(JSON))
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
PLACE = re.compile(rb"\x1b\[\d+;1H")
ESCAPE = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")


def test_screens_are_as_they_were() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "capture.py")], capture_output=True, text=True, check=True
    )
    different = json.loads(done.stdout)
    assert different == {}, f"look at them, then: python {HERE.name}/capture.py --write"
    assert (len(FILES), len(JSON)) == (66, 6)


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_every_screen_fits(path: Path) -> None:
    _, term, width = path.stem.rsplit(".", 2)
    shown = path.read_bytes()
    if term == "dumb":
        assert b"\x1b" not in shown
    if term != "xterm-256color":
        assert COLOUR.search(shown) is None
        shown.decode("ascii")
    shown = PLACE.sub(b"\n", shown)  # the cursor goes to the start of another line
    lines = ESCAPE.sub(b"", shown).decode().splitlines()
    assert re.fullmatch(r"\[exit \d+\]", lines[-1])
    for line in lines[:-1]:
        closing = line.startswith(("OK ", "PROBLEM "))
        assert len(line) <= (80 if closing else int(width)), line


@pytest.mark.parametrize(
    "path", [p for p in FILES if not p.stem.startswith(("watch", "usage", "error"))]
)
def test_one_verdict_and_it_stands_last(path: Path) -> None:
    lines = COLOUR.sub(b"", path.read_bytes()).decode().splitlines()
    verdicts = [
        n for n, line in enumerate(lines) if re.match(r"OK |PROBLEM .*; (type: )?lamppost ", line)
    ]
    assert verdicts == [len(lines) - 2]
    says_ok = lines[-2].startswith("OK ")
    assert says_ok is (lines[-1] == "[exit 0]")


@pytest.mark.parametrize("path", JSON, ids=[p.stem for p in JSON])
def test_answers_for_machines_are_one_object_with_a_schema(path: Path) -> None:
    told, _, code = path.read_text().rpartition("[exit ")
    found = json.loads(told)
    assert re.fullmatch(r"lamppost\.[a-z-]+/1", found["schema"])
    if "exit" in found:
        assert code == f"{found['exit']}]\n"
    if "verdict" in found:
        assert found["verdict"].startswith("OK ") is code.startswith("0")


@pytest.mark.parametrize("baud", [1200, 9600])
def test_watch_leaves_room_on_a_serial_line(baud: int) -> None:
    """Forty rows that all change each second, for a minute."""
    out = io.StringIO()
    screen = Screen(baud, out)
    seconds = 0.0
    for beat in range(60):
        rows = [
            f"meter-{n:<3} voltage.l1 {230 + (beat * 7 + n) % 9:>8}.{beat:02} V" for n in range(40)
        ]
        screen.draw(rows)
        seconds += 1.0 + screen.owed(1.0)
    assert screen.sent == len(out.getvalue())
    assert screen.sent / seconds <= baud / 10 / 2 + 0.01


def test_watch_sends_only_what_changed() -> None:
    out = io.StringIO()
    screen = Screen(None, out)
    screen.draw(["meter  230.1 V", "air     21 ug"])
    before = screen.sent
    screen.draw(["meter  230.4 V", "air     21 ug"])
    assert screen.sent - before < 20
    screen.draw(["meter"])
    assert out.getvalue().endswith("\x1b[2;1H\x1b[K\x1b[2;1H")
