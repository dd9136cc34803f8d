"""What is evicted unsent is reduced first: nothing is named as lost that a window stands for."""

from __future__ import annotations

import errno
from random import Random

from fakes.crash_disk import CrashDisk, no_fault
from fakes.two_rings import COARSE, SEGMENT, SIZE, Site
from lamppost.model import Batch, Span
from lamppost.ring.coarse import CoarseRing, Group


def site() -> Site:
    return Site(CrashDisk(seed=1), CrashDisk(seed=2))


def again(old: Site) -> Site:
    return Site(old.fine_disk, old.coarse_disk)


def fine_disk(s: Site) -> CrashDisk:
    assert isinstance(s.fine_disk, CrashDisk)
    return s.fine_disk


def coarse_disk(s: Site) -> CrashDisk:
    assert isinstance(s.coarse_disk, CrashDisk)
    return s.coarse_disk


def readings(s: Site) -> int:
    return sum(g.readings for g in s.groups())


def test_evicted_readings_are_in_windows_and_their_gap_says_so() -> None:
    s = site()
    s.fill(200, Random(1))
    s.check()
    gaps = s.ring.gaps(-1)
    assert {g.why for g in gaps} == {"reduced"}
    assert s.ring.stats().evicted == 0
    assert s.coarse.total == readings(s) >= sum(g.span.count for g in gaps) > 0


def test_urgent_records_stay_as_they_are() -> None:
    s = site()
    s.fill(200, Random(1))
    urgent = {n for r in s.ring.positions(-1) if r.urgent for n in range(r.first, r.last + 1)}
    assert min(urgent) < s.ring.gaps(-1)[-1].span.last, "one was saved from eviction"
    reduced = {n for g in s.groups() for c in g.covered for n in range(c.first, c.last + 1)}
    assert urgent.isdisjoint(reduced)


def test_a_restart_remembers_what_was_reduced() -> None:
    s = site()
    s.fill(200, Random(1))
    total = s.coarse.total
    s.ring.close()
    s.coarse.close()
    s = again(s)
    s.check()
    assert s.coarse.total == total
    assert {g.why for g in s.ring.gaps(-1)} == {"reduced"}
    s.fill(100, Random(2))
    s.check()


def test_power_cuts_never_reduce_a_reading_twice() -> None:
    dice = Random(7)
    s = site()
    for _ in range(40):
        s.fill(dice.randint(1, 30), dice)
        s = Site(fine_disk(s).power_cut(dice), coarse_disk(s).power_cut(dice))
        s.check()


def test_what_is_in_a_batch_is_not_reduced() -> None:
    s = site()
    s.fill(20, Random(1))
    s.ring.hold(Batch(s.ring.epoch, 0, Span(0, s.ring.last), b"d" * 32, b"l" * 32, b"message"))
    sealed = s.ring.last
    s.fill(200, Random(2))
    s.check()
    assert min(g.span.first for g in s.groups()) == sealed + 1


def test_a_coarse_disk_that_fails_leaves_an_eviction_named_as_such() -> None:
    s = site()
    coarse_disk(s).fault = lambda act, *_: errno.EROFS if act == "write" else 0
    s.fill(200, Random(1))
    assert {g.why for g in s.ring.gaps(-1)} == {"evicted"}
    assert s.ring.stats().evicted == sum(g.span.count for g in s.ring.gaps(-1))
    coarse_disk(s).fault = no_fault
    s.fill(100, Random(2))
    assert "reduced" in {g.why for g in s.ring.gaps(-1)}


def test_a_full_coarse_ring_gives_up_its_oldest_windows() -> None:
    s = Site(CrashDisk(seed=1), CrashDisk(seed=2), coarse_size=6 * SEGMENT)
    s.fill(1500, Random(1))
    groups = s.groups()
    assert groups[0].span.first > 0
    assert groups[-1].span.last == s.coarse.covered_through(s.ring.identity)
    assert sum(map(len, coarse_disk(s).cache.values())) <= 6 * SEGMENT
    assert s.coarse.total > readings(s)


def test_a_smaller_ring_reduces_what_no_longer_fits() -> None:
    s = site()
    s.fill(60, Random(1))
    s.ring.resize(6 * SEGMENT)
    s.check()
    assert sum(map(len, fine_disk(s).cache.values())) <= 6 * SEGMENT
    assert {g.why for g in s.ring.gaps(-1)} == {"reduced"}
    assert Site(s.fine_disk, s.coarse_disk, size=0).ring.stats().bytes_limit == 6 * SEGMENT


def test_a_group_that_is_not_whole_does_not_count() -> None:
    disk = CrashDisk(seed=3)
    coarse = CoarseRing.open(COARSE, SIZE, files=disk, segment=SEGMENT)
    source = "ab" * 16
    big = tuple(Random(i).randbytes(1500) for i in range(4))  # several blocks
    assert coarse.put(Group(source, Span(0, 9), (Span(0, 9),), big))
    left = [1]

    def cut(act: str, name: str, _offset: int, _length: int) -> int:
        left[0] -= act == "write" and name.endswith(".seg")
        return errno.EIO if left[0] < 0 else 0

    disk.fault = cut
    assert not coarse.put(Group(source, Span(10, 19), (Span(10, 19),), big))
    after = CoarseRing.open(COARSE, SIZE, files=CrashDisk(disk.medium), segment=SEGMENT)
    assert after.covered_through(source) == 9
    assert [g.span.last for g in after.after(source, -1)] == [9]
    assert after.put(Group(source, Span(10, 19), (Span(10, 12), Span(15, 19)), (b"x",)))
    (group,) = after.after(source, 9)
    assert group.readings == 8
    assert after.total == 18


def test_windows_of_another_ring_do_not_count() -> None:
    s = site()
    s.fill(200, Random(1))
    other = Site(CrashDisk(seed=9), s.coarse_disk)
    assert other.coarse.covered_through(other.ring.identity) == -1
    other.fill(200, Random(2))
    other.check()
    assert {g.why for g in other.ring.gaps(-1)} == {"reduced"}
