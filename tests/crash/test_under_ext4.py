"""Power cuts under a real ext4: the block writes of a workload recorded, the disk rebuilt at cuts, mounted, checked.

A disk keeps what was written before its last flush. What came after it survives whole, or in part and in any order, or
with its last write torn at a sector. Needs root, loop devices and mkfs.ext4.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from fakes import recording_disk
from fakes.two_rings import Site
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring
from lamppost.ring.coarse import CoarseRing

SEGMENT, FINE_SIZE, COARSE_SIZE = 16 * 1024, 10 * 16 * 1024, 12 * 16 * 1024
DISK_BYTES = 16 << 20
PLACES = 140  # of cuts, four images each
SECTOR = 512


def payload(number: int) -> bytes:
    """What record `number` holds: whoever finds it can tell."""
    return sha256(b"%d" % number).digest() * (1 + number % 7)


class OnDisk(Site):
    """Both rings in folders of a file system; each record is one reading."""

    def __init__(self, folder: Path) -> None:
        self.ring = Ring.open(folder / "fine", FINE_SIZE, segment=SEGMENT)
        self.coarse = CoarseRing.open(folder / "coarse", COARSE_SIZE, segment=SEGMENT)
        self.ring.reduce_with(self.take, self.coarse.covered_through(self.ring.identity))

    def close(self) -> None:
        self.ring.close()
        self.coarse.close()


def play(folder: Path, notes: Path, groups: int) -> None:
    """The workload: what is promised or proved is noted at once, on the same disk's log."""
    dice, site = Random(11), OnDisk(folder)
    said = os.open(notes, os.O_WRONLY)
    for turn in range(groups):
        first = site.ring.last + 1
        group = [Record(1, payload(first + i)) for i in range(dice.randint(1, 12))]
        site.ring.append(group)
        os.write(said, b"durable %d" % site.ring.last)
        hub = turn % 300 > 180  # away most of the time, so that readings are given up
        if hub and turn % 6 == 0:
            head = site.ring.head()
            span = Span(head.span.last + 1 if head else 0, site.ring.last)
            seq = head.seq + 1 if head else 0
            site.ring.hold(Batch(site.ring.epoch, seq, span, b"d" * 32, b"l" * 32, payload(seq)))
            os.write(said, b"sealed %d" % span.last)
        if hub and turn % 9 == 0 and (held := site.ring.held()):
            os.write(said, b"proved %d" % held[0].span.last)
            site.ring.settle(site.ring.epoch, held[0].seq)
        if turn % 97 == 96:
            site.close()
            site = OnDisk(folder)
    site.close()
    os.close(said)


def check(folder: Path, told: dict[str, int]) -> None:
    """After a cut: nothing that was promised is lost, nothing is invented, the cursor is not ahead."""
    site = OnDisk(folder)
    try:
        _check(site, told)
    finally:
        site.close()


def _check(site: OnDisk, told: dict[str, int]) -> None:
    ring = site.ring
    assert ring.stats().state in ("ok", "salvaged")
    assert ring.last >= told["durable"]
    assert ring.settled_through <= told["proved"]
    head = ring.head()
    sealed = head.span.last if head else -1
    assert sealed >= told["sealed"]
    for batch in ring.held():
        assert batch.message == payload(batch.seq)
    there = set()
    for stored in ring.read(-1, 1 << 30):
        assert stored.payload == payload(stored.span.first)
        there.add(stored.span.first)
    reduced = {n for g in site.groups() for s in g.covered for n in range(s.first, s.last + 1)}
    missing = set(range(sealed + 1, told["durable"] + 1)) - there - reduced
    assert not missing, f"acknowledged readings are lost: {sorted(missing)[:5]}"
    ring.append([Record(1, payload(ring.last + 1))])


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """An image through a loop device."""
    device = run("losetup", "-f", "--show", image)
    try:
        run("mount", "-o", "noatime", device, place)
        try:
            yield place
        finally:
            run("umount", place)
    finally:
        run("losetup", "-d", device)


def record(folder: Path, base: Path, log: Path) -> None:
    """Run the workload on an ext4 whose disk is recorded."""
    recorder, place = folder / "recorder", folder / "recorded"
    recorder.mkdir()
    place.mkdir()
    program = recording_disk.__file__
    served = subprocess.Popen([sys.executable, program, str(recorder), str(base), str(log)])
    try:
        deadline = time.monotonic() + 60
        while not (recorder / "disk.img").exists():
            assert served.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with mounted(recorder / "disk.img", place):
            play(place, recorder / "notes", 700)
    finally:
        unmounted(recorder)
        served.wait(60)


def unmounted(place: Path) -> None:
    """The loop device lets go of its file a moment after it was asked to."""
    deadline = time.monotonic() + 20
    while subprocess.run(["umount", place], check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            run("umount", "-l", place)
            return
        time.sleep(0.05)


class Rebuilt:
    """The disk at a place in the log: `image` is what was flushed, `pending` the writes since."""

    def __init__(self, base: Path) -> None:
        self.image = bytearray(base.read_bytes())
        self.pending: list[tuple[int, bytes]] = []
        self.told = {"durable": -1, "sealed": -1, "proved": -1}

    def apply(self, kind: bytes, offset: int, content: bytes) -> None:
        if kind == recording_disk.WRITE:
            self.pending.append((offset, content))
        elif kind == recording_disk.FLUSH:
            self.image = self.cut(self.pending)
            self.pending = []
        else:
            word, number = content.decode().split()
            self.told[word] = int(number)

    def cut(self, survivors: list[tuple[int, bytes]]) -> bytearray:
        image = bytearray(self.image)
        for offset, content in survivors:
            image[offset : offset + len(content)] = content
        return image

    def variants(self, dice: Random) -> Iterator[bytearray]:
        """All unflushed writes there; none; some of them in another order; the newest torn at a sector."""
        yield self.cut(self.pending)
        if self.pending:
            yield self.cut([])
            some = [w for w in self.pending if dice.random() < 0.5]
            dice.shuffle(some)
            yield self.cut(some)
            *before, (offset, content) = self.pending
            torn = dice.randrange(len(content) // SECTOR + 1) * SECTOR
            yield self.cut([*before, (offset, content[:torn])])


def why_not() -> str:
    """Why this machine cannot do it, empty if it can."""
    if os.geteuid() != 0:
        return "power cuts under ext4 need root: sudo ./dev test --all tests/crash"
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "power cuts under ext4 need /dev/fuse and loop devices (modules fuse and loop)"
    if not shutil.which("mkfs.ext4"):
        return "mkfs.ext4 is not installed: apt-get install e2fsprogs"
    return ""


@pytest.mark.long
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_power_cuts_under_ext4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, log, image = tmp_path / "base.img", tmp_path / "log", tmp_path / "cut.img"
    with base.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", base)
    record(tmp_path, base, log)
    steps = list(recording_disk.read_log(log))
    writes = sum(kind == recording_disk.WRITE for kind, _, _ in steps)
    dice, disk, images = Random(5), Rebuilt(base), 0
    begin = next(i for i, (kind, _, _) in enumerate(steps) if kind == recording_disk.NOTE)
    written = [i for i, (kind, _, _) in enumerate(steps) if kind == recording_disk.WRITE]
    places = set(dice.sample([i for i in written if i > begin - 40], PLACES))
    place = tmp_path / "cut"
    place.mkdir()
    for number, step in enumerate(steps):
        disk.apply(*step)
        if number not in places:
            continue
        for content in disk.variants(dice):
            image.write_bytes(content)
            with mounted(image, place):
                check(place, disk.told)
            images += 1
    with capsys.disabled():
        flushes = sum(kind == recording_disk.FLUSH for kind, _, _ in steps)
        print(
            f"\next4: {writes} block writes, {flushes} flushes, {images} images mounted, 0 lost;",
            end="",
        )
        print(f" promised through {disk.told['durable']}, proved through {disk.told['proved']}")
    assert images >= 500
