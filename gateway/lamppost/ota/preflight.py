"""Can this configuration run here at all? Asked before a trial, so that a trial is spent on what can be known no other
way. Opens no port."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lamppost.config.schema import Site
from lamppost.ota.refusal import ConfigUnfit

SPARE = 32 * 1024**2
"""Bytes that must stay free on the card beside the ring."""


def check(site: Site, *, gateway: str, hub: str, rings: Sequence[Path]) -> None:
    """`rings` are the folders that share `ring.size` on this card.

    Raises ConfigUnfit `ota.other-gateway`, `ota.other-hub`, `ota.disk-budget`.
    """
    if site.site.gateway != gateway:
        raise ConfigUnfit("ota.other-gateway", f"for {site.site.gateway}, this is {gateway}")
    if site.site.hub != hub:
        raise ConfigUnfit("ota.other-hub", f"for hub {site.site.hub}, enrolled at {hub}")
    there = _nearest(rings[0])
    disk = os.statvfs(there)
    room = disk.f_bavail * disk.f_frsize + sum(_size(ring) for ring in rings)
    if site.ring.size + SPARE > room:
        raise ConfigUnfit(
            "ota.disk-budget",
            f"a ring of {site.ring.size >> 20} MiB, but {max(room - SPARE, 0) >> 20} MiB are there for it",
        )


def _nearest(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _size(folder: Path) -> int:
    """Bytes on disk that a ring has already."""
    return sum(f.stat().st_blocks * 512 for f in folder.glob("**/*") if f.is_file())
