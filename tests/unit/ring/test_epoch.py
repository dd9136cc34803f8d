"""A new epoch on purpose: what is not settled is there again under new numbers; nothing that was settled is."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from fakes.crash_disk import CrashDisk
from lamppost.errors import StoreError
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring

FOLDER = Path("/ring")
SEGMENT = 4096
SIZE = 14 * SEGMENT


def opened(disk: CrashDisk) -> Ring:
    return Ring.open(FOLDER, SIZE, files=disk, segment=SEGMENT)


def batch(ring: Ring, seq: int, first: int, last: int) -> Batch:
    return Batch(ring.epoch, seq, Span(first, last), b"d" * 32, b"l" * 32, b"message", b"state")


def filled(disk: CrashDisk) -> Ring:
    """Six records of two readings; batches 0 (settled), 1 and 2 (in flight) over the first ten readings."""
    ring = opened(disk)
    for n in range(6):
        ring.append([Record(2, b"record-%d" % n)])
    for seq, (first, last) in enumerate([(0, 3), (4, 7), (8, 9)]):
        ring.hold(batch(ring, seq, first, last))
    ring.settle(ring.epoch, 0)
    return ring


def test_what_is_not_settled_begins_at_number_0() -> None:
    disk = CrashDisk()
    ring = filled(disk)
    before = ring.epoch
    ring.begin_epoch()
    new = ring.epoch
    assert new != before
    for again in (False, True):
        assert ring.epoch == new
        assert (ring.held(), ring.head(), ring.settled_through, ring.last) == ([], None, -1, 7)
        stored = ring.read(-1, 10_000)
        assert [s.payload for s in stored] == [b"record-%d" % n for n in range(2, 6)]
        assert stored[0].span == Span(0, 1)
        assert ring.gaps(-1) == []
        if not again:
            ring.close()
            ring = opened(disk)
    ring.hold(batch(ring, 0, 0, 3))
    assert ring.append([Record(1, b"next")]) == Span(8, 8)
    assert ring.settle(ring.epoch, 0)
    assert ring.settled_through == 3
    ring.close()


class Cut(Exception):
    """The power went."""


def cut_at(disk: CrashDisk, act_number: int) -> None:
    """The disk's act of this number does not happen, nor does any after it."""
    left = [act_number]

    def fault(act: str, *_: object) -> int:
        if act != "read":
            left[0] -= 1
            if left[0] < 0:
                raise Cut
        return 0

    disk.fault = fault


def test_a_power_cut_leaves_the_old_epoch_or_the_new_one_and_every_reading() -> None:
    seen = set()
    for act in range(40):
        disk = CrashDisk()
        ring = filled(disk)
        old = ring.epoch
        cut_at(disk, act)
        try:
            ring.begin_epoch()
            whole = True
        except Cut:
            whole = False
        for seed in range(6):
            left = opened(disk.power_cut(Random(seed)))
            seen.add(left.epoch == old)
            assert not (whole and left.epoch == old)
            assert left.stats().state == "ok"
            first = 2 if left.epoch == old else 0
            assert [b.seq for b in left.held()] == ([1, 2] if left.epoch == old else [])
            payloads = [s.payload for s in left.read(first * 2 - 1, 10_000)]
            assert payloads == [b"record-%d" % n for n in range(2, 6)]
        if whole:
            break
    else:
        pytest.fail("the epoch never began")
    assert seen == {True, False}


def test_a_disk_that_takes_no_writes_leaves_everything_as_it_was() -> None:
    disk = CrashDisk()
    ring = filled(disk)
    old = ring.epoch
    disk.fault = lambda act, *_: errno.EROFS if act in ("write", "sync") else 0
    with pytest.raises(StoreError) as refused:
        ring.begin_epoch()
    assert refused.value.retry
    assert (ring.epoch, [b.seq for b in ring.held()], ring.last) == (old, [1, 2], 11)
    disk.fault = lambda *_: 0
    assert ring.settle(old, 1)
    ring.begin_epoch()
    assert ring.epoch != old
