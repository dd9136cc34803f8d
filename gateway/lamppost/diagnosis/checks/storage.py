"""Disk and card."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts, Mount
from lamppost.findings import Finding, found

FULL_MIB = 8
FULL_SHARE = 0.005
"""Below both of these a disk is full for whoever is not root; ext4 keeps a reserve of its own."""
SOON_DAYS = 14.0
SOON_SHARE = 0.05
_LEAST_HOURS = 1.0


def check(facts: Facts) -> Iterator[Finding]:
    """Full, without inodes, read-only, failing, or soon one of these."""
    for mount in facts.mounts:
        if mount.read_only:
            yield found("storage.read-only", mount.path, path=mount.path)
        elif mount.free <= min(FULL_MIB, max(1, mount.total // 10)) or (
            mount.free < FULL_SHARE * mount.total and mount.free < 4 * FULL_MIB
        ):
            yield found(
                "storage.full", mount.path, path=mount.path, free=mount.free, total=mount.total
            )
        elif mount.inodes and mount.inodes_free < max(16, mount.inodes // 1000):
            yield found(
                "storage.no-inodes",
                mount.path,
                path=mount.path,
                free=mount.inodes_free,
                total=mount.inodes,
            )
        else:
            yield from _soon(mount)
    if facts.card_errors:
        sample = facts.card_errors[-1]
        yield found("storage.failing", "card", count=len(facts.card_errors), sample=sample)


def days_to_full(mount: Mount) -> float | None:
    """By how fast free room went since an earlier look; None where nobody looked or it does not shrink."""
    if mount.earlier_free is None or mount.earlier_hours < _LEAST_HOURS:
        return None
    lost = mount.earlier_free - mount.free
    if lost <= 0:
        return None
    return mount.free / (lost / mount.earlier_hours * 24)


def _soon(mount: Mount) -> Iterator[Finding]:
    days = days_to_full(mount)
    if days is not None and days < SOON_DAYS and mount.free < 0.5 * mount.total:
        shown = f"{days:.0f}" if days >= 2 else f"{days:.1f}"
        yield found("storage.filling", mount.path, path=mount.path, free=mount.free, days=shown)
