"""What the terminal can show: its width, its signs, its colours. Words carry the meaning, colour never alone.

Imports nothing heavy: `status` needs it too.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TextIO

WIDEST, NARROWEST = 80, 40
_NO_COLOUR = ("dumb", "unknown", "vt52", "vt100", "vt102", "vt220", "vt320", "vt420", "network")
_CODES = {"bad": "31;1", "warn": "33", "good": "32", "dim": "2", "bold": "1"}
_ASCII = str.maketrans(
    {
        "µ": "u", "²": "2", "³": "3", "°": "deg", "·": "-", "–": "-", "—": "-", "…": "...", "→": "->",
        "Ω": "ohm", "±": "+-", "≤": "<=", "≥": ">=", "×": "x", "’": "'", "“": '"', "”": '"',
        "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "-", "▆": "=", "▇": "#", "█": "#",
    }
)  # fmt: skip


def many(number: int, one: str, more: str = "") -> str:
    """`1 device`, `2 devices`; `more` where it is not `one` with an s."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def width() -> int:
    """Columns to use: 80 at most, 40 at least; a window of no size (some serial lines) counts as 80."""
    columns = shutil.get_terminal_size((WIDEST, 24)).columns or WIDEST
    return max(NARROWEST, min(WIDEST, columns))


def has_colour(stream: TextIO | None = None) -> bool:
    """Whether colours may be sent: a terminal that knows them, and nobody said no (no-color.org)."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb").startswith(_NO_COLOUR):
        return False
    return stream.isatty()


def is_live(stream: TextIO | None = None) -> bool:
    """Whether a line on it may be overwritten: a terminal that is not dumb."""
    stream = stream or sys.stderr
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def paint(text: str, how: str) -> str:
    """`text` in a style of `_CODES`, where the terminal knows colours."""
    return f"\x1b[{_CODES[how]}m{text}\x1b[0m" if has_colour() else text


def plain(text: str) -> str:
    """`text` in the signs that the terminal's encoding has."""
    encoding = (getattr(sys.stdout, "encoding", "") or "ascii").lower()
    if encoding.replace("-", "") == "utf8":
        return text
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def say(text: str = "") -> None:
    """A line to stdout."""
    sys.stdout.write(plain(text) + "\n")


def note(text: str) -> None:
    """A line to stderr: progress and notes, never the result."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def wrapped(text: str, label: str = "", indent: int = 0) -> Iterator[str]:
    """`text` in lines of the terminal's width, `label` before the first, the others under its text."""
    first = " " * indent + label
    lines = textwrap.wrap(
        text,
        width(),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from lines or [first.rstrip()]


def span(seconds: float) -> str:
    """A time in the largest unit that fits twice: 130 s, 3 min, 5 h, 12 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return ""


class Progress:
    """What is being done, on stderr: one line that is overwritten on a terminal, nothing elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = is_live() and not quiet
        self._shown = False

    def __call__(self, text: str) -> None:
        """Show what is being done now."""
        if self._live:
            shown = plain(text)[: width() - 1]
            sys.stderr.write(f"\r{shown:<{width() - 1}}")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Take the line away before the result is shown."""
        if self._shown:
            sys.stderr.write("\r" + " " * (width() - 1) + "\r")
            sys.stderr.flush()
            self._shown = False
