"""How times and counts are written for people."""

from __future__ import annotations

import datetime as dt


def moment(utc: int) -> str:
    """UTC nanoseconds as a date and time; `never` for 0."""
    if utc <= 0:
        return "never"
    return dt.datetime.fromtimestamp(utc // 1_000_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(utc: int, now: int) -> str:
    """How long ago, in the largest unit that gives a number above 1."""
    if utc <= 0:
        return "never"
    seconds = max(0, now - utc) // 1_000_000_000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
