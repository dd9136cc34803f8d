"""The ring against a list of what was appended: random steps, restarts, power cuts and failing disks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from fakes.crash_disk import CrashDisk, no_fault
from lamppost.errors import StoreError
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring

FOLDER = Path("/ring")
SEGMENT = 4096
SIZE = 16 * SEGMENT
MEMORY = 8 * 1024
TROUBLES = (errno.ENOSPC, errno.EROFS, errno.EIO)


class Player:
    """Plays random steps and keeps the list model beside the ring."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.disk = CrashDisk(seed=seed)
        self.ring = self._open()
        self.records: dict[int, Record] = {}  # by first number
        self.safe = -1  # numbers up to here were acknowledged as durable
        self.batches: list[Batch] = []
        self.receipted: set[int] = set()
        self.tried: list[Batch] = []  # their hold failed: one of them may be on the disk
        self.settled = -1
        self.lost_in_memory = False

    def play(self, steps: int) -> None:
        acts = [self.append] * 10 + [self.seal] * 3 + [self.receipt] * 4
        acts += [self.stray_receipt, self.restart, self.cut, self.trouble, self.relief, self.relief]
        for turn in range(steps):
            self.dice.choice(acts)()
            self.check_cursors()
            if turn % 3 == 0:
                self.check_readings()

    # -- steps -------------------------------------------------------------------------------------

    def append(self) -> None:
        records = [self._record() for _ in range(self.dice.randint(1, 8))]
        number = self.ring.last + 1
        span = self.ring.append(records)
        assert span.first == number
        for record in records:
            self.records[number] = record
            number += record.count
        assert span.last == self.ring.last == number - 1
        if self.well:
            self.safe = self.ring.last

    def seal(self) -> None:
        head = self.ring.head()
        after = head.span.last if head else -1
        stored = self.ring.read(after, self.dice.randint(10, 3000))
        if not stored:
            return
        span = Span(after + 1, stored[-1].span.last)
        seq = head.seq + 1 if head else 0
        message = self.dice.randbytes(self.dice.randint(1, 1200))
        batch = Batch(self.ring.epoch, seq, span, b"d" * 32, b"l" * 32, message, b"carry")
        try:
            self.ring.hold(batch)
        except StoreError as refused:
            assert refused.retry
            assert refused.code.startswith("ring.")
            self.tried.append(batch)
            return
        self.tried = []
        self.batches.append(batch)

    def receipt(self) -> None:
        if waiting := self.ring.held():
            self._settle(self.dice.choice(waiting).seq)

    def stray_receipt(self) -> None:
        assert not self.ring.settle("0" * 32, 0)
        assert not self.ring.settle(self.ring.epoch, len(self.batches) + 5)
        if self.batches:
            self._settle(self.dice.choice(self.batches).seq)

    def restart(self) -> None:
        self.disk.fault = no_fault
        self.ring.close()
        self.safe = self.ring.last
        self._reopen()

    def cut(self) -> None:
        self.disk = self.disk.power_cut(self.dice)
        self._reopen()
        assert self.ring.last >= self.safe
        self.records = {n: r for n, r in self.records.items() if n <= self.ring.last}

    def trouble(self) -> None:
        error, share = self.dice.choice(TROUBLES), self.dice.choice((0.3, 1.0))
        only = self.dice.choice(("write", "sync", "create"))
        dice = self.dice

        def fault(act: str, _name: str, _offset: int, _length: int) -> int:
            return error if act == only and dice.random() < share else 0

        self.disk.fault = fault

    def relief(self) -> None:
        self.disk.fault = no_fault

    # -- what must hold ----------------------------------------------------------------------------

    @property
    def well(self) -> bool:
        state = self.ring.stats().state
        return state in ("ok", "salvaged") or (state == "disk-full" and self.ring_takes)

    @property
    def ring_takes(self) -> bool:
        return not self.ring._memory  # a full disk that only keeps the ring from growing

    def check_cursors(self) -> None:
        assert self.ring.settled_through == self.settled
        assert self.ring.held() == [b for b in self.batches if b.span.last > self.settled]
        stats = self.ring.stats()
        on_disk = sum(map(len, self.disk.cache.values()))
        assert (
            on_disk <= SIZE + SEGMENT
        )  # a segment that could not be finished may linger till the next open
        assert stats.bytes_used <= SIZE

    def check_readings(self) -> None:
        fault, self.disk.fault = self.disk.fault, no_fault
        stored = self.ring.read(-1, 10**9)
        numbers: set[int] = set()
        for found in stored:
            record = self.records[found.span.first]
            assert (record.count, record.payload) == (found.span.count, found.payload)
            assert numbers.isdisjoint(range(found.span.first, found.span.last + 1))
            numbers.update(range(found.span.first, found.span.last + 1))
        sealed = self.batches[-1].span.last if self.batches else -1
        absent: set[int] = set()
        for gap in self.ring.gaps(sealed):
            absent.update(range(max(gap.span.first, sealed + 1), gap.span.last + 1))
            if gap.why == "evicted":
                self._check_no_urgent(gap.span, sealed)
        assert absent.isdisjoint(n for n in numbers if n > sealed)
        expected = set(range(sealed + 1, self.ring.last + 1))
        assert expected <= absent | numbers, sorted(expected - absent - numbers)[:5]
        self.disk.fault = fault

    def _check_no_urgent(self, span: Span, sealed: int) -> None:
        for number in range(max(span.first, sealed + 1), span.last + 1):
            record = self.records.get(number)
            assert record is None or not record.urgent, f"urgent record {number} was evicted"

    # -- within ------------------------------------------------------------------------------------

    def _record(self) -> Record:
        payload = self.dice.randbytes(self.dice.choice((0, 1, 20, 90, 300)))
        return Record(self.dice.randint(1, 5), payload, self.dice.random() < 0.01)

    def _settle(self, seq: int) -> None:
        before = self.settled
        held = [b for b in self.batches if b.span.last > before]
        if seq in [b.seq for b in held]:
            self.receipted.add(seq)
        for batch in held:
            if batch.seq not in self.receipted:
                break
            self.settled = batch.span.last
        assert self.ring.settle(self.ring.epoch, seq) == (self.settled > before)

    def _open(self) -> Ring:
        return Ring.open(FOLDER, SIZE, files=self.disk, segment=SEGMENT, memory=MEMORY)

    def _reopen(self) -> None:
        epoch = self.ring.epoch
        self.disk.fault = no_fault
        self.ring = self._open()
        assert self.ring.epoch == epoch
        head = self.ring.head()
        if head in self.tried:
            self.batches.append(head)
        self.tried = []
        assert head == (self.batches[-1] if self.batches else None)
        assert (
            self.ring.settled_through <= self.settled
        )  # behind where the disk took no cursor, never ahead
        self.settled = self.ring.settled_through
        self.receipted = {s for s in self.receipted if self.batches[s].span.last <= self.settled}


def _play(seed: int, steps: int) -> Player:
    player = Player(seed)
    try:
        player.play(steps)
    except BaseException:
        print(f"seed {seed}")
        raise
    return player


@pytest.mark.parametrize("seed", range(6))
def test_random_steps(seed: int) -> None:
    player = _play(seed, 600)
    assert player.ring.stats().appended > 1000


@pytest.mark.long
def test_a_hundred_thousand_random_steps(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("LAMPPOST_SEED", "20260"))
    with capsys.disabled():
        print(f"\nring against the list: 20 runs of 5,000 steps, seeds {seed} to {seed + 19}")
    for turn in range(20):
        _play(seed + turn, 5_000)
