"""A power cut at every write of a recorded trace, at every sector of every write, in every order between syncs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes.crash_disk import CrashDisk, CrashFolder, Step, put, sectors
from fakes.two_rings import Site
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring

FOLDER = Path("/ring")
SEGMENT = 4096
SIZE = 10 * SEGMENT
COARSE_SIZE = 6 * SEGMENT
FINE, COARSE = "f-", "c-"  # what the names of the two rings' files begin with


@dataclass
class World:
    """What the outside knows after a step: what was acknowledged, what was proved, what was named as lost."""

    records: dict[int, Record] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    receipts: set[int] = field(default_factory=set)
    settled: int = -1
    sealed: int = -1
    absent: list[Span] = field(default_factory=list)
    lost: list[Span] = field(default_factory=list)  # absent, and no window was to stand for it
    epoch: str = ""

    def copy(self) -> World:
        return World(dict(self.records), dict(self.batches), set(self.receipts), self.settled,
                     self.sealed, list(self.absent), list(self.lost), self.epoch)  # fmt: skip


def both(disk: CrashDisk) -> Site:
    """The ring and its coarse ring on one disk."""
    return Site(CrashFolder(disk, FINE), CrashFolder(disk, COARSE), SIZE, COARSE_SIZE)


class Workload:
    """Appends, wraps, evictions with reduction to windows, settles out of order, restarts, damage and failing syncs,
    all by one seed. At times there is no hub, so that readings are given up; `done` counts what happened.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.disk = CrashDisk(seed=seed)
        self.disk.steps = []
        self.world = World()
        self.waiting: dict[int, Record] = {}
        self.hub = False
        self.done: Counter[str] = Counter()
        self.ring = self._open()
        self._done()

    def run(self, writes: int) -> list[Step]:
        acts = [self._append] * 12 + [self._seal] * 3 + [self._receipt] * 4
        acts += [self._restart, self._fail_a_sync, self._damage, self._come_or_go]
        while sum(s.act == "write" for s in self.disk.steps or []) < writes:
            act = self.dice.choice(acts)
            if self.hub or act not in (self._seal, self._receipt):
                act()
            self._done()
        self.ring.close()
        return self.disk.steps or []

    def _open(self) -> Ring:
        self.site = both(self.disk)
        self.world.epoch = self.site.ring.epoch
        return self.site.ring

    def _done(self) -> None:
        w, ring = self.world, self.ring
        w.settled = ring.settled_through
        head = ring.head()
        w.sealed = head.span.last if head else -1
        w.absent = list(
            {*w.absent, *(g.span for g in ring.gaps(-1))}
        )  # damage is known once it was read
        w.lost = list({*w.lost, *(g.span for g in ring.gaps(-1) if g.why != "reduced")})
        self.done["reduced"] = self.site.coarse.total
        self.done["windows given up"] = self.site.coarse.stats().first
        self.done["settled"] = ring.settled_through + 1
        self.done["salvaged"] += ring.stats().state == "salvaged"
        self.disk.note(w.copy())

    def _come_or_go(self) -> None:
        self.hub = not self.hub

    def _append(self) -> None:
        records = [
            Record(
                self.dice.randint(1, 3),
                self.dice.randbytes(self.dice.randint(1, 160)),
                self.dice.random() < 0.03,
            )
            for _ in range(self.dice.randint(1, 6))
        ]
        number = self.ring.last + 1
        self.disk.note(("appending", number, records))
        self.ring.append(records)
        for record in records:
            self.waiting[number] = record
            number += record.count
        if self.ring.stats().state in (
            "ok",
            "salvaged",
        ):  # else they wait in memory, and nothing was promised
            self.world.records |= self.waiting
            self.waiting = {}

    def _seal(self) -> None:
        if len(self.ring.held()) >= 4:
            return
        head = self.ring.head()
        after = head.span.last if head else -1
        stored = self.ring.read(after, self.dice.randint(100, 1500))
        if not stored:
            return
        message = self.dice.randbytes(self.dice.randint(50, 900))
        span = Span(after + 1, stored[-1].span.last)
        seq = head.seq + 1 if head else 0
        batch = Batch(self.ring.epoch, seq, span, b"d" * 32, b"l" * 32, message, b"state")
        self.disk.note(("holding", batch))
        self.ring.hold(batch)
        self.world.batches[seq] = batch

    def _receipt(self) -> None:
        waiting = [b.seq for b in self.ring.held() if b.seq not in self.world.receipts]
        if waiting:
            seq = self.dice.choice(waiting[:2])
            self.world.receipts.add(seq)
            self.disk.note(("receipt", seq))
            self.ring.settle(self.ring.epoch, seq)

    def _restart(self) -> None:
        self.ring.close()  # what waits is written now
        self.world.records |= self.waiting
        self.waiting = {}
        self.ring = self._open()
        self.world.receipts = {s for s in self.world.receipts if self._is_settled(s)}

    def _is_settled(self, seq: int) -> bool:
        return self.world.batches[seq].span.last <= self.ring.settled_through

    def _fail_a_sync(self) -> None:
        left = [1]

        def once(act: str, name: str, _offset: int, _length: int) -> int:
            if act == "sync" and name.endswith(".seg") and left[0]:
                left[0] -= 1
                return 5
            return 0

        self.disk.fault = once
        self._append()
        self.disk.fault = lambda *_: 0

    def _damage(self) -> None:
        names = [n for n in self.disk.medium if n.startswith(FINE) and n.endswith(".seg")]
        if len(names) < 8 or self.dice.random() < 0.5:
            return
        name = self.dice.choice(names)
        if (
            self.disk.medium[name][14:15] != b"\x01"
        ):  # only the log here; test_salvage does the rest
            return
        self._restart()
        self.ring.close()
        self.disk.overwrite(name, self.dice.randrange(600, SEGMENT - 64), b"\xff" * 24)
        self.ring = self._open()
        self.world.receipts = {s for s in self.world.receipts if self._is_settled(s)}
        after = -1
        while stored := self.ring.read(after, 10_000):
            after = stored[-1].span.last


class Medium:
    """The medium while the trace is replayed: what is durable, and the writes since the last sync of each file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.unnamed: dict[str, bytes] = {}  # created, folder not yet synced
        self.removed: set[str] = set()
        self.pending: list[tuple[str, int, bytes]] = []

    def apply(self, step: Step) -> None:
        if step.act == "note" and step.note == "damage":
            self._put(step.name, step.offset, step.content)
        elif step.act == "create":
            self.unnamed[step.name] = b""
            self.removed.discard(step.name)
        elif step.act == "write":
            self.pending.append((step.name, step.offset, step.content))
        elif step.act == "sync":
            for name, offset, content in [p for p in self.pending if p[0] == step.name]:
                self._put(name, offset, content)
            self.pending = [p for p in self.pending if p[0] != step.name]
        elif step.act == "remove":
            self.removed.add(step.name)
        elif step.act == "sync-folder":
            self.files.update(self.unnamed)
            self.unnamed.clear()
            for name in self.removed:
                self.files.pop(name, None)
            self.removed.clear()

    def _put(self, name: str, offset: int, content: bytes) -> None:
        place = self.unnamed if name in self.unnamed else self.files
        if name in place:
            file = bytearray(place[name])
            put(file, offset, content)
            place[name] = bytes(file)

    def cuts(self) -> Iterator[dict[str, bytes]]:
        """Every state that a power cut now can leave."""
        for named in (False, True) if self.unnamed else (False,):
            base = {**self.files, **(self.unnamed if named else {})}
            yield base
            if not self.pending:
                continue
            for kept in _survivors(self.pending):
                yield _written(base, kept)


Writes = list[tuple[str, int, bytes]]


def _survivors(pending: Writes) -> Iterator[Writes]:
    """Unsynced writes that made it: all but one, one alone, pairs in both orders; the newest also by sectors."""
    for i, write in enumerate(pending):
        yield pending[:i] + pending[i + 1 :]
        yield [write]
        for other in pending[i + 1 :]:
            yield [write, other]
            yield [other, write]
    before, (name, offset, content) = pending[:-1], pending[-1]
    if name.endswith(
        "ring.head"
    ):  # a sector may break in the middle, too: that is what the second slot is for
        yield [*before, (name, offset, content[:100] + bytes(len(content) - 100))]
    parts = [(name, at, piece) for at, piece in sectors(offset, content)]
    if len(parts) > 40:  # filling with zeros
        parts = parts[:4] + parts[-4:]
    for count in range(1, len(parts) + 1):
        yield before + parts[:count]  # every prefix
        yield [parts[count - 1]]  # one sector alone
        if len(parts) > 1:
            yield before + parts[: count - 1] + parts[count:]  # all sectors but one


def _written(base: dict[str, bytes], writes: Writes) -> dict[str, bytes]:
    files: dict[str, bytearray] = {}
    for name, offset, content in writes:
        if name in base:
            file = files.setdefault(name, bytearray(base[name]))
            put(file, offset, content)
    return {**base, **{n: bytes(f) for n, f in files.items()}}


class Check:
    """Opens the ring from what a cut left and compares it with what the outside knows."""

    def __init__(self) -> None:
        self.states = 0
        self.seen: set[int] = set()

    def __call__(
        self, files: dict[str, bytes], before: World, after: World, doing: list[object]
    ) -> None:
        key = hash(tuple(sorted(files.items())))
        if key in self.seen:
            return
        self.seen.add(key)
        self.states += 1
        disk = CrashDisk(files, seed=self.states)
        site = both(disk)
        ring = site.ring
        self._state(ring, disk, before, after, doing)
        self._windows(site, before, after, doing)
        if self.states % 5 == 0:
            self._goes_on(ring, disk)

    def _state(
        self, ring: Ring, disk: CrashDisk, before: World, after: World, doing: list[object]
    ) -> None:
        assert ring.stats().state in ("ok", "salvaged")
        if before.epoch:
            assert ring.epoch == before.epoch
        assert before.settled <= ring.settled_through <= after.settled
        assert sum(len(c) for n, c in disk.cache.items() if n.startswith(FINE)) <= SIZE
        assert sum(len(c) for n, c in disk.cache.items() if n.startswith(COARSE)) <= COARSE_SIZE
        held = {b.seq: b for b in ring.held()}
        for seq, batch in before.batches.items():
            if batch.span.last > ring.settled_through:
                assert held.pop(seq) == batch, f"batch {seq} is not byte-identical"
        assert all(after.batches.get(seq, _batch(doing)) == b for seq, b in held.items())
        head = ring.head()
        sealed = head.span.last if head else -1
        assert before.sealed <= sealed <= max(after.sealed, sealed)
        self._readings(ring, sealed, before, after, doing)

    def _readings(
        self, ring: Ring, sealed: int, before: World, after: World, doing: list[object]
    ) -> None:
        appending = dict(_appending(doing))
        stored: dict[int, int] = {}
        for found in ring.read(-1, 10**9):
            first = found.span.first
            known = before.records.get(first) or after.records.get(first) or appending.get(first)
            assert known is not None, f"reading {first} was invented"
            assert (known.count, known.payload) == (found.span.count, found.payload)
            stored[first] = found.span.last
        gaps = [g.span for g in ring.gaps(-1)]
        for first, record in before.records.items():
            if first in stored or first + record.count - 1 <= max(sealed, before.sealed):
                continue
            assert any(g.first <= first <= g.last for g in gaps), f"{first} is lost and not named"
            named = [s for s in (*before.absent, *after.absent) if s.first <= first <= s.last]
            assert named or first <= after.sealed, f"acknowledged reading {first} was lost"
        for gap in gaps:
            assert not any(gap.first <= first <= gap.last for first in stored if first > sealed)

    def _windows(self, site: Site, before: World, after: World, doing: list[object]) -> None:
        """Windows stand for readings that were appended, once each; what was reduced and is not sealed is there."""
        ring, origin = site.ring, site.ring.origin
        stored = {s.span.first for s in ring.read(-1, 10**9)}
        appending = dict(_appending(doing))
        reduced: set[int] = set()
        groups = site.groups()
        for group in groups:
            numbers = [n for s in group.covered for n in range(s.first, s.last + 1)]
            assert group.payloads[0] == ",".join(map(str, numbers)).encode(), "a foreign window"
            assert reduced.isdisjoint(numbers), "a reading was reduced twice"
            reduced.update(numbers)
        oldest = groups[0].span.first if groups else 0
        head = ring.head()
        sealed = max(head.span.last if head else -1, before.sealed)
        for first, record in before.records.items():
            if first <= sealed or first in stored or first + origin < oldest:
                continue  # sent, there, or its window was the oldest and had to go
            lost = (*before.lost, *after.lost)
            if not any(s.first <= first <= s.last for s in lost):
                own = range(first + origin, first + origin + record.count)
                assert reduced.issuperset(own), f"reading {first} is in no window"
        known = {n + origin for n in (*before.records, *after.records, *appending)}
        assert all(s.first in known for g in groups for s in g.covered), "a window of nothing"

    def _goes_on(self, ring: Ring, disk: CrashDisk) -> None:
        number = ring.last + 1
        ring.append([Record(2, b"after the cut")])
        left = CrashFolder(CrashDisk(disk.medium, seed=1), FINE)
        again = Ring.open(FOLDER, SIZE, files=left, segment=SEGMENT)
        assert [s.payload for s in again.read(number - 1, 10)] == [b"after the cut"]
        assert again.last == number + 1


def _appending(doing: list[object]) -> Iterator[tuple[int, Record]]:
    for what in doing:
        if isinstance(what, tuple) and what[0] == "appending":
            number = what[1]
            for record in what[2]:
                yield number, record
                number += record.count


def _batch(doing: list[object]) -> Batch | None:
    found = [w[1] for w in doing if isinstance(w, tuple) and w[0] == "holding"]
    return found[-1] if found else None


def _replay(steps: list[Step]) -> tuple[int, int]:
    worlds = [s.note for s in steps if isinstance(s.note, World)]
    medium, check = Medium(), Check()
    doing: list[object] = []
    before, turn, writes = World(), 0, 0
    for step in steps:
        if isinstance(step.note, World):
            before, turn, doing = step.note, turn + 1, []
        elif step.act == "note":
            doing.append(step.note)
        medium.apply(step)
        after = worlds[min(turn, len(worlds) - 1)]
        writes += step.act == "write"
        if "damage" in doing:
            continue  # acknowledged bytes are being destroyed: looked at again when that is known
        for files in medium.cuts():
            check(files, before, after, doing)
    return writes, check.states


@pytest.mark.parametrize("seed", [1, 2])
def test_a_cut_at_any_write_loses_nothing(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    workload = Workload(seed)
    writes, states = _replay(workload.run(130))
    with capsys.disabled():
        print(f"\npower cuts, seed {seed}: {writes} writes, {states} states checked, 0 lost")
    assert writes >= 130
    assert workload.done["reduced"] > 0


@pytest.mark.long
def test_a_long_trace_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    workload = Workload(2026)
    writes, states = _replay(workload.run(2200))
    with capsys.disabled():
        print(f"\npower cuts, long: {writes} writes, {states} states checked, 0 lost;", end="")
        print(f" in the trace: {dict(workload.done)}")
    assert writes >= 2000
    assert all(workload.done.values())
