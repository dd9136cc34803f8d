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
    """Offsets by boot id, kept in `path` so that samples of earlier boots find their true time.

    Before the running boot is synchronised its samples have no UTC, unless the site sends them `unsynced`. Samples
    of an earlier boot that never synchronised go out `unsynced`, by what that boot believed: waiting would not help.
    """

    def __init__(self, path: Path, *, send_unsynced: bool) -> None:
        self._path = path
        self._send_unsynced = send_unsynced
        self._running = ""
        self._offsets: dict[str, Offset] = _load(path)

    def utc(self, at: Instant) -> tuple[int, TimeQuality] | None:
        """UTC nanoseconds and their quality, or None while the boot's offset is awaited."""
        offset = self._offsets.get(at.boot)
        if offset is None:
            return None
        awaited = offset.quality is TimeQuality.UNSYNCED and at.boot == self._running
        return None if awaited and not self._send_unsynced else (at.ns + offset.ns, offset.quality)

    def learn(self, clock: Clock) -> bool:
        """Take the running boot's offset from `clock`; returns whether anything changed.

        A synchronised offset is taken once and then kept: a later step of UTC must not move samples already placed.
        """
        now = clock.now()
        self._running = now.boot
        known = self._offsets.get(now.boot)
        if known and known.quality is TimeQuality.SYNCED:
            return False
        quality = TimeQuality.SYNCED if clock.synced() else TimeQuality.UNSYNCED
        if known and quality is known.quality:
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
        return {}  # samples of past boots then wait for the next sync; the daemon still starts
