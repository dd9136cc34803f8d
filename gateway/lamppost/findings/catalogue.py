"""Reads the areas' data files, one when it is first asked for, and fills an entry with the evidence of a case."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from lamppost.errors import LamppostError

AREAS = (
    "host", "power", "storage", "clock", "net", "modem",
    "uplink", "trust", "config", "buffer", "bus", "sensors",
)  # fmt: skip
"""In the order in which a doctor looks: what others rest on comes first."""

SURE: Mapping[str, str] = {
    "proof": "proved",
    "likely": "likely",
    "suspect": "only a suspicion",
    "open": "seen for certain, the cause is open",
}


class UnknownFinding(LamppostError):
    """Nobody knows this id."""

    def __init__(self, wanted: str) -> None:
        near = difflib.get_close_matches(wanted, ids(), n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}" if near else "lamppost explain --list"
        super().__init__(f"no finding {wanted!r}", code="finding.unknown", hint=hint)


@dataclass(frozen=True, slots=True)
class Cause:
    """One possible cause, and what tells it from the others."""

    cause: str
    tell: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the catalogue. `evidence` and `next` have named fields in braces; `causes` are ranked.

    `sure`: a key of SURE. `rank`: the smaller, the more other findings may rest on it; it stands first.
    """

    id: str
    title: str
    sure: str
    rank: int
    evidence: str
    causes: tuple[Cause, ...]
    next: str

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry that holds here and now: its texts are filled, `subject` is the device, link or file it is about."""

    id: str
    subject: str
    title: str
    sure: str
    rank: int
    evidence: str
    causes: tuple[Cause, ...]
    next: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def is_warning(self) -> bool:
        """Whether the gateway does its job in spite of it."""
        return self.rank >= 700


@lru_cache(maxsize=len(AREAS))
def area(name: str) -> Mapping[str, Entry]:
    """All entries of one area by id. Raises KeyError for an unknown area."""
    if name not in AREAS:
        raise KeyError(name)
    file = resources.files("lamppost.findings").joinpath("areas", f"{name}.toml")
    with file.open("rb") as opened:
        rows = tomllib.load(opened)["finding"]
    return {row["id"]: _entry(row) for row in rows}


def _entry(row: dict[str, Any]) -> Entry:
    causes = tuple(Cause(**cause) for cause in row.pop("causes"))
    return Entry(causes=causes, **row)


def entry(wanted: str) -> Entry:
    """The entry of an id. Raises UnknownFinding with the nearest ids."""
    name = wanted.partition(".")[0]
    known = area(name) if name in AREAS else {}
    if wanted not in known:
        raise UnknownFinding(wanted)
    return known[wanted]


def entries() -> Iterator[Entry]:
    """All entries, area by area."""
    for name in AREAS:
        yield from area(name).values()


def ids() -> list[str]:
    """All ids, in the order of the areas."""
    return [each.id for each in entries()]


def found(wanted: str, subject: str = "", /, **fields: object) -> Finding:
    """The entry with its fields filled. Raises KeyError where a field is missing: that is a bug of the check."""
    page = entry(wanted)
    causes = tuple(
        Cause(c.cause.format_map(fields), c.tell.format_map(fields)) for c in page.causes
    )
    return Finding(
        page.id,
        subject,
        page.title,
        page.sure,
        page.rank,
        page.evidence.format_map(fields),
        causes,
        page.next.format_map(fields),
    )
