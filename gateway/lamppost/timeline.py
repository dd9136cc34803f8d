"""When was that, in UTC? The offsets of boots, learned at synchronisation and applied on the way out.

Pure but for one small durable file; reads no clock of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lamppost.clock import Clock
from lamppost.files import durable_write
from lamppost.model import Instant, TimeQuality

KEPT_BOOTS = 64


@dataclass(frozen=True, slots=True)
class Offset:
    """UTC minus CLOCK_BOOTTIME of one boot, in nanoseconds, and how it was learned."""

    ns: int
    quality: TimeQuality


class Timeline:
    """Offsets by boot id, kept in `path` so that samples of earlier boots find their true time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[str, Offset] = _load(path)

    def utc(self, at: Instant) -> tuple[int, TimeQuality] | None:
        """UTC nanoseconds and their quality, or None while the boot's offset is unknown."""
        offset = self._offsets.get(at.boot)
        return (at.ns + offset.ns, offset.quality) if offset else None

    def learn(self, clock: Clock, *, accept_unsynced: bool) -> bool:
        """Take the running boot's offset from `clock`; returns whether anything changed.

        A synchronised offset is taken once and then kept (a later step of UTC must not move samples already
        placed). An unsynchronised one is taken only if the site accepts that, and yields to a synchronised one.
        """
        now = clock.now()
        known = self._offsets.get(now.boot)
        if known and known.quality is TimeQuality.SYNCED:
            return False
        if clock.synced():
            quality = TimeQuality.SYNCED
        elif accept_unsynced and known is None:
            quality = TimeQuality.UNSYNCED
        else:
            return False
        self._offsets[now.boot] = Offset(clock.utc() - now.ns, quality)
        self._save()
        return True

    def _save(self) -> None:
        for stale in list(self._offsets)[:-KEPT_BOOTS]:
            del self._offsets[stale]
        kept = {boot: [o.ns, o.quality.value] for boot, o in self._offsets.items()}
        durable_write(self._path, json.dumps(kept, indent=1).encode())


def _load(path: Path) -> dict[str, Offset]:
    try:
        stored = json.loads(path.read_bytes())
        return {boot: Offset(int(ns), TimeQuality(q)) for boot, (ns, q) in stored.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}  # without it samples of past boots wait or go out unsynced; the daemon still starts
