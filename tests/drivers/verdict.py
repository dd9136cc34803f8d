"""How a captured row is judged: it passed, was refused as asked, failed, or is not claimed by any driver here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lamppost_drivers.contract import Absent, FrameError
from lamppost_drivers.selftest import equal

Row = Mapping[str, Any]
Got = Mapping[str, object]
REFUSALS = ("reject", "sensor_state_error")


class NotClaimed(Exception):
    """No driver here reads such a row; the text says what it is."""


@dataclass(frozen=True)
class Verdict:
    """`wrong` is the worst: a value that is not the captured one, given as good."""

    row: str
    outcome: str
    detail: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Pair:
    """A value of ours and what the source says; `digits` is how finely the source printed it, None for exactly."""

    name: str
    got: object
    want: object
    digits: float = 0.0

    def fits(self) -> bool:
        """Numbers to 1e-6 or to the printed digits; None means that the source has no value."""
        if self.want is None:
            return self.got is None or isinstance(self.got, Absent)
        return equal(self.got, self.want, absolute=max(self.digits, 1e-9))


def printed(want: float) -> float:
    """Half of the last digit that a number was printed with."""
    text = repr(want)
    return 0.51 * 10 ** -len(text.partition(".")[2]) if "e" not in text else 0.0


def judge(row: Row, pairs_of: Callable[[Row], Iterable[Pair]]) -> Verdict:
    """The verdict over one row; any other exception than FrameError fails the test itself."""
    asked = row["expected"].get("outcome") in REFUSALS
    try:
        pairs = list(pairs_of(row))
    except NotClaimed as reason:
        return Verdict(row["id"], "not claimed", str(reason))
    except FrameError as reason:
        return Verdict(row["id"], "refused" if asked else "failed", str(reason))
    if asked:
        return Verdict(row["id"], "failed", "accepted", wrong=True)
    if not pairs:
        return Verdict(row["id"], "failed", "nothing was compared")
    off = [pair for pair in pairs if not pair.fits()]
    if not off:
        return Verdict(row["id"], "passed", str(len(pairs)))
    wrong = any(pair.got is not None and not isinstance(pair.got, Absent) for pair in off)
    return Verdict(
        row["id"], "failed", "; ".join(f"{p.name} {p.got!r}≠{p.want!r}" for p in off[:4]), wrong
    )
