"""Damage, failing disks and files that are not ours: what is kept, what is named, what is refused."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fakes.crash_disk import CrashDisk, no_fault
from lamppost.errors import StoreError
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring
from lamppost.ring import format as fmt

FOLDER = Path("/ring")
SEGMENT = 4096
SIZE = 20 * SEGMENT


def open_ring(disk: CrashDisk, size: int = SIZE, memory: int = 64 * 1024) -> Ring:
    return Ring.open(FOLDER, size, files=disk, segment=SEGMENT, memory=memory)


def fill(ring: Ring, groups: int, *, seed: int = 1, size: int = 60) -> dict[int, bytes]:
    """Append groups of three records of two readings; returns payloads by first number."""
    wrote: dict[int, bytes] = {}
    dice = Random(seed)
    for _ in range(groups):
        records = [Record(2, dice.randbytes(size)) for _ in range(3)]
        first = ring.append(records).first
        wrote |= {first + 2 * i: r.payload for i, r in enumerate(records)}
    return wrote


def all_stored(ring: Ring) -> dict[int, bytes]:
    return {s.span.first: s.payload for s in ring.read(-1, 10**9)}


def named(ring: Ring, after: int = -1) -> dict[int, str]:
    return {n: g.why for g in ring.gaps(after) for n in range(g.span.first, g.span.last + 1)}


def hold(ring: Ring, last: int, message: bytes = b"sealed") -> Batch:
    head = ring.head()
    first, seq = (head.span.last + 1, head.seq + 1) if head else (0, 0)
    batch = Batch(ring.epoch, seq, Span(first, last), b"d" * 32, b"l" * 32, message, b"carry")
    ring.hold(batch)
    return batch


def exactly(wrote: dict[int, bytes], ring: Ring) -> None:
    """Every reading is there with its bytes, or named as absent; none is both."""
    stored, absent = all_stored(ring), named(ring)
    assert stored == {n: p for n, p in wrote.items() if n in stored}
    assert {n for n in wrote if n not in absent} == set(stored)


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_fifth_of_a_segment_overwritten(seed: int) -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    ring.close()
    dice, spoiled = Random(seed), 0
    while spoiled < SEGMENT // 5:
        disk.overwrite("000002.seg", dice.randrange(128, SEGMENT - 64), dice.randbytes(64))
        spoiled += 64
    ring = open_ring(disk)
    exactly(wrote, ring)
    lost = [n for n, why in named(ring).items() if why == "damaged"]
    assert 0 < len(lost) < 120
    assert ring.stats().state == "salvaged"
    assert any("000002.seg" in place for place in ring.verify().damaged)


def test_a_destroyed_segment_head_costs_at_most_the_first_block() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    ring.close()
    disk.overwrite("000002.seg", 0, b"\xff" * 512)
    ring = open_ring(disk)
    assert ring.stats().state == "salvaged"
    exactly(wrote, ring)
    assert 0 < len(named(ring)) <= 18


def test_a_segment_that_is_gone_is_named() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    ring.close()
    del disk.medium["000002.seg"], disk.cache["000002.seg"]
    ring = open_ring(disk)
    exactly(wrote, ring)
    assert set(named(ring).values()) == {"damaged"}


def test_a_truncated_segment_keeps_its_beginning() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    ring.close()
    del disk.cache["000002.seg"][1500:]
    ring = open_ring(disk)
    exactly(wrote, ring)
    assert len(named(ring)) < 100


def test_a_damaged_segment_is_set_aside_when_it_is_settled_and_never_written_again() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 60)
    ring.close()
    disk.overwrite("000002.seg", 700, b"\xff" * 700)
    ring = open_ring(disk)
    all_stored(ring)
    hold(ring, ring.last)
    assert ring.settle(ring.epoch, 0)
    before = bytes(disk.cache["000002.seg"])
    fill(ring, 400)
    ring.close()
    fill(open_ring(disk), 100)
    assert disk.cache["000002.seg"] == before
    assert sum(map(len, disk.cache.values())) <= SIZE


def test_one_spoiled_header_slot_is_no_loss() -> None:
    for slot in (0, fmt.SLOT):
        disk = CrashDisk()
        ring = open_ring(disk)
        wrote = fill(ring, 10)
        hold(ring, 29)
        ring.settle(ring.epoch, 0)
        epoch = ring.epoch
        ring.close()
        disk.overwrite("ring.head", slot, b"LAMPRING" + b"\xff" * 200)
        ring = open_ring(disk)
        assert (ring.epoch, ring.last) == (epoch, 59)
        assert ring.settled_through in (-1, 29)
        assert all_stored(ring) == wrote


@pytest.mark.parametrize("how", ["spoiled", "gone", "zeros"])
def test_without_a_header_the_segments_tell_what_was(how: str) -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 20)
    sealed = [hold(ring, 20 * i + 19, bytes([i]) * 500) for i in range(6)]
    for seq in range(4):
        ring.settle(ring.epoch, seq)
    wrote = fill(ring, 30, seed=2)
    epoch = ring.epoch
    ring.close()
    if how == "gone":
        del disk.medium["ring.head"], disk.cache["ring.head"]
    else:
        spoil = b"LAMPRING" + b"\xee" * 600 if how == "spoiled" else bytes(608)
        disk.overwrite("ring.head", 0, spoil)
        disk.overwrite("ring.head", fmt.SLOT, spoil)
    ring = open_ring(disk)
    assert ring.stats().state == "salvaged"
    assert (ring.epoch, ring.last, ring.head()) == (epoch, 299, sealed[-1])
    assert ring.settled_through <= sealed[3].span.last
    assert ring.held()[-2:] == sealed[-2:]
    assert {n: p for n, p in all_stored(ring).items() if n in wrote} == wrote


def test_a_lost_batch_in_flight_ends_the_epoch_and_its_readings_are_sealed_anew() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 20)
    for i in range(3):
        hold(ring, 20 * i + 19, bytes([i]) * 500)
    ring.settle(ring.epoch, 0)
    epoch, appended = ring.epoch, ring.stats().appended
    ring.close()
    place = next(n for n, c in disk.medium.items() if b"\x01" * 500 in c)
    disk.overwrite(place, disk.medium[place].index(b"\x01" * 500), b"\xff")
    ring = open_ring(disk)
    assert ring.epoch != epoch
    assert (ring.settled_through, ring.head(), ring.held()) == (-1, None, [])
    assert (ring.last, ring.stats().appended) == (99, appended)
    assert list(all_stored(ring).values()) == [p for n, p in wrote.items() if n >= 20]
    assert list(all_stored(ring)) == list(range(0, 100, 2))
    again = hold(ring, 19)
    ring.close()
    ring = open_ring(disk)
    assert (ring.held(), ring.last) == ([again], 99)
    assert ring.settle(ring.epoch, 0)
    assert ring.settled_through == 19


# -- failing disks ---------------------------------------------------------------------------------


def failing(error: int, *acts: str, names: str = "") -> Callable[[str, str, int, int], int]:
    return lambda act, name, _o, _l: error if act in acts and names in name else 0


STATES = [(errno.ENOSPC, "disk-full"), (errno.EROFS, "read-only"), (errno.EIO, "io-error")]


@pytest.mark.parametrize(("error", "state"), STATES)
@pytest.mark.parametrize("act", ["write", "sync"])
def test_a_failing_disk_is_a_state_and_nothing_is_lost_that_fits_in_memory(
    error: int, state: str, act: str
) -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 5)
    disk.fault = failing(error, act)
    wrote |= fill(ring, 50, seed=2)
    assert ring.stats().state == state
    assert all_stored(ring) == wrote
    with pytest.raises(StoreError) as refused:
        hold(ring, 9)
    assert (refused.value.code, refused.value.retry) == (f"ring.{state}", True)
    disk.fault = no_fault
    wrote |= fill(ring, 1, seed=3)
    assert ring.stats().state in ("ok", "salvaged")
    assert all_stored(ring) == wrote
    assert all_stored(open_ring(CrashDisk(disk.medium))) == wrote


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_batch_whose_sync_failed_is_not_believed_because_it_can_be_read(earlier: int) -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 10)
    for i in range(earlier):
        hold(ring, 10 * i + 9)
    disk.fault = failing(errno.EIO, "sync")
    with pytest.raises(StoreError):
        hold(ring, 10 * earlier + 9)
    disk.fault = no_fault
    fill(ring, 1, seed=2)
    ring.close()
    published = open_ring(disk).held()
    assert open_ring(disk.power_cut(Random(1))).held() == published


def test_a_batch_that_failed_in_a_new_segment_does_not_outlive_its_successor() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 20)
    hold(ring, 9, bytes(2500))
    disk.fault = failing(errno.EIO, "sync")
    with pytest.raises(StoreError):
        hold(ring, 29, bytes(2500))  # needs a new segment
    disk.fault = no_fault
    second = hold(ring, 19, bytes(100))  # fits the old one
    ring.close()
    again = open_ring(disk)
    assert again.head() == second
    again.close()
    assert open_ring(disk.power_cut(Random(1))).head() == second


def test_what_does_not_fit_in_memory_becomes_a_gap_that_outlives_a_restart() -> None:
    disk = CrashDisk()
    ring = open_ring(disk, memory=4096)
    wrote = fill(ring, 5)
    disk.fault = failing(errno.EROFS, "write")
    wrote |= fill(ring, 100, seed=2)
    urgent = ring.append([Record(1, b"water is rising", urgent=True)]).first
    wrote |= {urgent: b"water is rising"} | fill(ring, 100, seed=3)
    exactly(wrote, ring)
    assert set(named(ring).values()) == {"read-only"}
    assert all_stored(ring)[urgent] == b"water is rising"
    lost = named(ring)
    disk.fault = no_fault
    wrote |= fill(ring, 1, seed=4)
    exactly(wrote, ring)
    assert ring.stats().evicted == len(lost)
    again = open_ring(CrashDisk(disk.medium))
    exactly(wrote, again)
    assert named(again) == lost


@pytest.mark.parametrize(("error", "state"), STATES)
def test_an_hour_without_a_disk_keeps_the_newest_and_names_the_rest(error: int, state: str) -> None:
    """20 meters of 20 points every 10 s: the memory of 1 MiB holds the last 26 minutes of it."""
    disk, dice = CrashDisk(), Random(1)
    ring = Ring.open(FOLDER, 4 << 20, files=disk)
    wrote: dict[int, bytes] = {}

    def hour(groups: int) -> None:
        for _ in range(groups):
            records = [Record(20, dice.randbytes(262)) for _ in range(20)]
            first = ring.append(records).first
            wrote.update({first + 20 * i: r.payload for i, r in enumerate(records)})

    hour(10)
    safe = ring.last
    disk.fault = failing(error, "write", "sync", "create")
    hour(360)
    disk.fault = no_fault
    hour(1)
    assert ring.stats().state == "ok"
    exactly(wrote, ring)
    (gap,) = ring.gaps(-1)
    assert (gap.span.first, gap.why) == (safe + 1, state)
    kept = ring.last - 400 - gap.span.last
    assert kept // 20 * (262 + 64) <= 1 << 20 < (kept // 20 + 1) * (262 + 64)
    assert ring.stats().evicted == gap.span.count


def test_one_segment_that_cannot_be_written_is_left_behind() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 20)
    assert ring._store is not None
    bad = ring._store.lanes[fmt.Role.LOG].segments[-1].path.name
    disk.fault = failing(errno.EIO, "sync", names=bad)
    wrote |= fill(ring, 60, seed=2)
    assert ring.stats().state == "salvaged"
    assert all_stored(ring) == wrote
    assert all_stored(open_ring(CrashDisk(disk.medium))) == wrote


def test_one_segment_that_cannot_be_read_is_named_and_the_rest_is_kept() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    ring.close()
    disk.fault = lambda act, name, at, _l: (
        errno.EIO if act == "read" and name == "000002.seg" and at >= 128 else 0
    )
    ring = open_ring(disk)
    exactly(wrote, ring)
    assert set(named(ring).values()) == {"damaged"}
    assert len(named(ring)) < 120


def test_a_disk_that_cannot_be_read_at_all_names_nothing_as_lost() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 60)
    disk.fault = failing(errno.EIO, "read", "write", "sync")
    assert ring.read(-1, 10**9) == []
    assert ring.gaps(-1) == []
    assert ring.stats().state == "io-error"
    disk.fault = no_fault
    assert all_stored(ring) == wrote


def test_a_ring_that_cannot_be_opened_keeps_memory_and_joins_the_disk_later() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 10)
    ring.close()
    disk.fault = failing(errno.EIO, "read")
    ring = open_ring(disk)
    assert (ring.stats().state, ring.epoch) == ("io-error", "")
    assert ring.append([Record(2, b"meanwhile")]) == Span(0, 1)
    assert [s.payload for s in ring.read(-1, 100)] == [b"meanwhile"]
    with pytest.raises(StoreError):
        hold(ring, 1)
    disk.fault = no_fault
    assert ring.append([Record(2, b"again")]) == Span(62, 63)
    assert all_stored(ring) == wrote | {60: b"meanwhile", 62: b"again"}


def test_a_full_disk_leaves_a_smaller_ring_that_goes_on() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 20)
    disk.fault = failing(errno.ENOSPC, "create")
    wrote = fill(ring, 100, seed=2)
    assert ring.stats().state == "disk-full"
    assert len(disk.cache) < 10
    stored = all_stored(ring)
    assert set(stored) | set(named(ring)) >= set(wrote)
    disk.fault = no_fault
    fill(ring, 200, seed=3)
    assert ring.stats().state == "ok"
    assert len(disk.cache) > 10


def test_a_group_costs_one_sync_and_one_write_that_changes_no_length() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 1)
    sizes = {n: len(c) for n, c in disk.cache.items()}
    for turn in range(5):
        disk.steps = []
        fill(ring, 1, seed=turn)
        assert [s.act for s in disk.steps] == ["write", "sync"]
    assert {n: len(c) for n, c in disk.cache.items()} == sizes


# -- size ------------------------------------------------------------------------------------------


def test_a_smaller_size_gives_up_the_oldest_and_the_files_go() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 200)
    ring.close()
    ring = open_ring(disk, 10 * SEGMENT)
    assert sum(map(len, disk.cache.values())) <= 10 * SEGMENT
    stored = all_stored(ring)
    assert stored == {n: p for n, p in wrote.items() if n >= min(stored)}
    assert set(named(ring).values()) == {"evicted"}
    exactly(wrote, ring)


def test_size_zero_keeps_what_there_is() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 200)
    before = ring.stats()
    ring.close()
    ring = Ring.open(FOLDER, 0, files=disk)
    assert ring.stats() == before
    with pytest.raises(StoreError) as refused:
        Ring.open(FOLDER, 0, files=CrashDisk())
    assert refused.value.code == "ring.absent"


# -- what does not fit -----------------------------------------------------------------------------


def test_too_big_for_a_segment_is_refused_by_name() -> None:
    ring = open_ring(CrashDisk())
    with pytest.raises(StoreError) as refused:
        ring.append([Record(1, b"good"), Record(1, bytes(SEGMENT))])
    assert (refused.value.code, ring.last) == ("ring.record-too-big", -1)
    ring.append([Record(1, b"good")])
    with pytest.raises(StoreError) as refused:
        hold(ring, 0, bytes(SEGMENT))
    assert (refused.value.code, ring.held()) == ("ring.batch-too-big", [])


def test_batches_without_receipts_are_bounded() -> None:
    ring = open_ring(CrashDisk())
    fill(ring, 200)
    with pytest.raises(StoreError) as refused:
        for i in range(100):
            hold(ring, 10 * i + 9, bytes(2000))
    assert (refused.value.code, refused.value.retry) == ("ring.held-full", True)
    count = len(ring.held())
    assert 5 <= count <= 12
    ring.settle(ring.epoch, 0)
    ring.settle(ring.epoch, 1)
    hold(ring, 10 * count + 9, bytes(2000))


# -- files that are not ours -----------------------------------------------------------------------


def refusal(disk: CrashDisk) -> StoreError:
    before = {n: bytes(c) for n, c in disk.cache.items()}
    with pytest.raises(StoreError) as refused:
        open_ring(disk)
    assert {n: bytes(c) for n, c in disk.cache.items()} == before, "a refused ring was touched"
    assert refused.value.hint
    return refused.value


def test_a_foreign_file_is_refused_and_not_touched() -> None:
    assert refusal(CrashDisk({"ring.head": b"SQLite format 3\0" * 600})).code == "ring.foreign"


def test_a_newer_format_is_refused_and_not_touched() -> None:
    disk = CrashDisk()
    ring = open_ring(disk)
    fill(ring, 3)
    ring.close()
    for slot in (0, fmt.SLOT):
        content = bytearray(disk.medium["ring.head"][slot + 12 : slot + fmt.SECTOR])
        content[0] = 9
        disk.overwrite("ring.head", slot, fmt._summed(b"LAMPRING", bytes(content)))
    assert refusal(disk).code == "ring.newer-format"


def test_a_segment_of_another_ring_is_left_alone() -> None:
    other = CrashDisk(seed=99)
    fill(open_ring(other), 60)
    disk = CrashDisk()
    ring = open_ring(disk)
    wrote = fill(ring, 20)
    ring.close()
    stranger = other.medium["000002.seg"]
    disk = CrashDisk({**disk.medium, "000009.seg": stranger})
    ring = open_ring(disk)
    assert all_stored(ring) == wrote
    assert ring.stats().state == "salvaged"
    fill(ring, 300, seed=3)
    assert disk.medium["000009.seg"] == stranger


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_folder_of_someone_else_is_refused_with_a_hint(tmp_path: Path) -> None:
    ring = Ring.open(tmp_path / "ring", 1 << 20)
    ring.close()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    os.chmod(tmp_path / "ring", 0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreError) as refused:
            Ring.open(tmp_path / "ring", 1 << 20)
    finally:
        os.seteuid(0)
    assert refused.value.code == "ring.wrong-owner"
    assert "chown" in refused.value.hint


def test_a_ring_in_use_is_refused(tmp_path: Path) -> None:
    ring = Ring.open(tmp_path / "ring", 1 << 20)
    with pytest.raises(StoreError) as refused:
        Ring.open(tmp_path / "ring", 1 << 20)
    assert refused.value.code == "store.in-use"
    ring.close()
    Ring.open(tmp_path / "ring", 1 << 20).close()


# -- real file systems -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_tmpfs(small_disk: Path) -> None:
    ring = Ring.open(small_disk / "ring", 1 << 20)
    wrote = fill(ring, 600, size=600)
    assert ring.stats().state == "disk-full"
    exactly(wrote, ring)
    ring.close()
    ring = Ring.open(small_disk / "ring", 1 << 20)
    exactly(wrote, ring)
    ring.close()


def test_a_disk_remounted_read_only(small_disk: Path) -> None:
    ring = Ring.open(small_disk / "ring", 512 * 1024)
    wrote = fill(ring, 10)
    ring.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ring = Ring.open(small_disk / "ring", 512 * 1024)
    assert all_stored(ring) == wrote
    wrote |= fill(ring, 10, seed=2)
    assert ring.stats().state == "read-only"
    assert all_stored(ring) == wrote
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    wrote |= fill(ring, 1, seed=3)
    assert ring.stats().state == "ok"
    ring.close()
    ring = Ring.open(small_disk / "ring", 512 * 1024)
    assert all_stored(ring) == wrote
    assert replace(ring.stats(), epoch="").state == "ok"
    ring.close()
