"""The ring and the coarse ring beside it: opened whatever state they are in, within one budget of bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamppost.config.schema import RingSettings
from lamppost.errors import StoreError
from lamppost.reduction import Reduction
from lamppost.ring import Ring
from lamppost.ring.coarse import CoarseRing
from lamppost.timeline import Timeline

log = logging.getLogger("lamppost.rings")

RING, COARSE, SPARE = "ring", "ring-coarse", "ring-spare"
SMALLEST_COARSE = 1024**2  # a smaller share goes to the ring itself


class Rings:
    """The rings of a state folder. `refused` is why a spare ring is used, if one is.

    Raises StoreError `store.in-use`, and where not even the spare ring can be opened: else the daemon starts.
    """

    def __init__(self, state: Path, settings: RingSettings) -> None:
        self._settings = settings
        share = round(settings.size * settings.coarse_share)
        coarse = share if share >= SMALLEST_COARSE else 0
        self._fine = settings.size - coarse
        self.ring, self.refused = _open_fine(state, self._fine)
        self.coarse = _open_coarse(state / COARSE, coarse) if coarse else None
        self._width = settings.coarse_window

    def reduction(
        self,
        timeline: Timeline,
        kinds: Mapping[tuple[str, str], str],
        *,
        window: float,
        personal: Mapping[str, int],
    ) -> Reduction | None:
        """What joins the two, None without a coarse ring. Coarse windows are never shorter than `window` (seconds).

        `personal` are the least widths (nanoseconds) of devices of their own. Now the ring takes the size it should
        have: what a ring that was larger before must give up is reduced.
        """
        reduction = None
        if self.coarse is not None:
            width = round(max(self._width, window) * 1e9)
            longer = {name: max(least, width) for name, least in personal.items()}
            reduction = Reduction(
                self.ring, self.coarse, timeline, kinds, width=width, longer=longer
            )
        self.ring.resize(self._fine)
        return reduction

    def report(self) -> dict[str, Any]:
        """The coarse ring in figures, for status; empty without one."""
        return coarse_report(self.coarse, self._width) if self.coarse else {}

    def close(self) -> None:
        """Close the coarse ring; the ring itself belongs to its thread."""
        if self.coarse is not None:
            self.coarse.close()


def coarse_report(coarse: CoarseRing, width: float | None = None) -> dict[str, Any]:
    """`reduced` counts readings that went into windows since the folder was made; sizes are bytes."""
    stats = coarse.stats()
    return {
        "reduced": coarse.total,
        "window_seconds": width,
        "state": stats.state,
        "bytes_used": stats.bytes_used,
        "bytes_limit": stats.bytes_limit,
    }


def _open_fine(state: Path, size: int) -> tuple[Ring, str]:
    try:
        return _as_it_is(state / RING, size), ""
    except StoreError as refused:
        if refused.code == "store.in-use":
            raise
        log.error("%s: %s; %s; a spare ring is used", refused.code, refused, refused.hint)
        return _as_it_is(state / SPARE, size), refused.code.removeprefix("ring.")


def _as_it_is(folder: Path, size: int) -> Ring:
    """A ring in the size that it has: nothing is given up before it can be reduced."""
    try:
        return Ring.open(folder, 0)
    except StoreError as absent:
        if absent.code != "ring.absent":
            raise
        return Ring.open(folder, size)


def _open_coarse(folder: Path, size: int) -> CoarseRing | None:
    try:
        return CoarseRing.open(folder, size)
    except StoreError as refused:
        if refused.code == "store.in-use":
            raise
        log.error(
            "%s: %s; %s; no windows are kept of what must be given up",
            refused.code, refused, refused.hint,
        )  # fmt: skip
        return None
