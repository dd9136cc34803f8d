"""Maintenance windows: "22:00-04:00", in UTC. Pure."""

from __future__ import annotations

PATTERN = r"^(([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])?$"


def opens(window: str, now: int) -> bool:
    """Whether `now` (UTC seconds) lies in the window; "" is always open, and so is one that ends where it begins."""
    if not window:
        return True
    begin, end = (_minutes(part) for part in window.split("-"))
    minute = now % 86400 // 60
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
