"""What is wrong with a site file: every problem with its key path, value, reason and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from lamppost.errors import SiteError

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `key` is a path such as `device[2].unit`, `nearest` a valid key or value if one is close."""

    key: str
    value: str
    reason: str
    nearest: str | None = None

    def __str__(self) -> str:
        nearest = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        value = f" = {self.value}" if self.value else ""
        return f"{self.key}{value}: {self.reason}{nearest}"


class SiteInvalid(SiteError):
    """The site file was refused; `problems` holds all of them, in the order of the file's tables."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            "\n".join(str(p) for p in self.problems),
            code="config.invalid",
            hint=f"mend the {count} key{'s' if count != 1 else ''} named above, then: lamppost config check FILE",
        )


def shown(value: object) -> str:
    """A value as a report shows it: bounded, on one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to a mistyped one, or None."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def key_path(parts: Iterable[int | str]) -> str:
    """`("device", 2, "unit")` as `device[2].unit`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
