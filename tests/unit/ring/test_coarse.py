"""What is evicted unsent is reduced first: nothing is named as lost that a window stands for."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from random import Random

from fakes.crash_disk import CrashDisk, no_fault
from lamppost.ring import Record, Ring, Stored
from lamppost.ring.coarse import CoarseRing

FINE, COARSE = Path("/fine"), Path("/coarse")
SEGMENT = 4096
SIZE = 14 * SEGMENT


def counted(evicted: Sequence[Stored]) -> list[bytes]:
    """A window: how many readings there were."""
    return [sum(s.span.count for s in evicted).to_bytes(4, "little")]


class Site:
    """A fine and a coarse ring on disks of their own."""

    def __init__(self, fine: CrashDisk, coarse: CrashDisk) -> None:
        self.fine_disk, self.coarse_disk = fine, coarse
        self.ring = Ring.open(FINE, SIZE, files=fine, segment=SEGMENT)
        self.coarse = CoarseRing.open(COARSE, SIZE, counted, files=coarse, segment=SEGMENT)
        self.ring.reduce_with(self.coarse.take, self.coarse.covered_through(self.ring.epoch))

    def fill(self, groups: int, dice: Random) -> None:
        for _ in range(groups):
            records = [Record(2, dice.randbytes(60), dice.random() < 0.01) for _ in range(5)]
            self.ring.append(records)

    def check(self) -> None:
        """Every reading is stored, or in a window, or in a gap that says it was evicted; windows do not overlap."""
        stored = {
            n for s in self.ring.read(-1, 10**9) for n in range(s.span.first, s.span.last + 1)
        }
        windows = self.coarse.read(-1, 10**9)
        reduced: set[int] = set()
        for window in windows:
            assert window.epoch == self.ring.epoch
            numbers = set(range(window.span.first, window.span.last + 1))
            assert reduced.isdisjoint(numbers)
            reduced |= numbers
        for gap in self.ring.gaps(-1):
            numbers = set(range(gap.span.first, gap.span.last + 1))
            assert numbers.isdisjoint(stored)
            assert gap.why in ("reduced", "evicted")
            assert gap.why == "evicted" or numbers <= reduced
            stored |= numbers
        assert stored == set(range(self.ring.last + 1))


def test_evicted_readings_are_in_windows_and_their_gap_says_so() -> None:
    site = Site(CrashDisk(seed=1), CrashDisk(seed=2))
    site.fill(200, Random(1))
    site.check()
    gaps = site.ring.gaps(-1)
    assert {g.why for g in gaps} == {"reduced"}
    total = sum(int.from_bytes(w.payload, "little") for w in site.coarse.read(-1, 10**9))
    assert total == sum(g.span.count for g in gaps) == site.ring.stats().evicted


def test_a_restart_remembers_what_was_reduced() -> None:
    site = Site(CrashDisk(seed=1), CrashDisk(seed=2))
    site.fill(200, Random(1))
    site.ring.close()
    site.coarse.close()
    again = Site(site.fine_disk, site.coarse_disk)
    again.check()
    assert {g.why for g in again.ring.gaps(-1)} == {"reduced"}
    again.fill(100, Random(2))
    again.check()


def test_power_cuts_never_reduce_a_reading_twice() -> None:
    dice = Random(7)
    site = Site(CrashDisk(seed=1), CrashDisk(seed=2))
    for _ in range(40):
        site.fill(dice.randint(1, 30), dice)
        site = Site(site.fine_disk.power_cut(dice), site.coarse_disk.power_cut(dice))
        site.check()


def test_a_coarse_disk_that_fails_leaves_an_eviction_named_as_such() -> None:
    site = Site(CrashDisk(seed=1), CrashDisk(seed=2))
    site.coarse_disk.fault = lambda act, *_: errno.EROFS if act == "write" else 0
    site.fill(200, Random(1))
    assert {g.why for g in site.ring.gaps(-1)} == {"evicted"}
    site.coarse_disk.fault = no_fault
    site.fill(100, Random(2))
    assert "reduced" in {g.why for g in site.ring.gaps(-1)}
