"""A ring with a coarse one beside it, on disks in memory, and a reducer that only counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from fakes.crash_disk import CrashDisk, CrashFolder
from lamppost.model import Span
from lamppost.ring import Record, Ring
from lamppost.ring.coarse import CoarseRing, Group
from lamppost.ring.records import Numbered

FINE, COARSE = Path("/fine"), Path("/coarse")
SEGMENT = 4096
SIZE = 14 * SEGMENT


class Site:
    """Both rings. A group of windows holds one payload: the numbers of the readings it stands for, as they are."""

    def __init__(
        self,
        fine: CrashDisk | CrashFolder,
        coarse: CrashDisk | CrashFolder,
        size: int = SIZE,
        coarse_size: int = SIZE,
    ) -> None:
        self.fine_disk, self.coarse_disk = fine, coarse
        self.ring = Ring.open(FINE, size, files=fine, segment=SEGMENT)
        self.coarse = CoarseRing.open(COARSE, coarse_size, files=coarse, segment=SEGMENT)
        self.ring.reduce_with(self.take, self.coarse.covered_through(self.ring.identity))

    def take(self, lost: Sequence[Numbered]) -> bool:
        """Reduce what is lost and a little more, as the product does, urgent records left out."""
        done = max(self.coarse.covered_through(self.ring.identity), self.ring.sealed_through)
        if done >= lost[-1].last:
            return True
        taken = []
        for record in self.ring.positions(done):
            taken.append(record)
            if record.last >= lost[-1].last + 20:
                break
        covered = tuple(Span(r.first, r.last) for r in taken if not r.urgent)
        payload = ",".join(str(n) for s in covered for n in range(s.first, s.last + 1)).encode()
        span = Span(taken[0].first, taken[-1].last)
        return self.coarse.put(Group(self.ring.identity, span, covered, (payload, b"second part")))

    def fill(self, groups: int, dice: Random) -> None:
        for _ in range(groups):
            records = [Record(2, dice.randbytes(60), dice.random() < 0.01) for _ in range(5)]
            self.ring.append(records)

    def groups(self) -> list[Group]:
        """All that the coarse ring has of this ring."""
        return list(CoarseRing(self.coarse._ring).after(self.ring.identity, -1))

    def check(self) -> None:
        """Every reading is stored, in exactly one window, or in a gap that says it was evicted; sealed ones aside."""
        origin, sealed = self.ring.origin, self.ring.sealed_through
        stored = {n for r in self.ring.positions(-1) for n in range(r.first, r.last + 1)}
        reduced: set[int] = set()
        for group in self.groups():
            numbers = {n for s in group.covered for n in range(s.first, s.last + 1)}
            assert group.payloads[0] == ",".join(map(str, sorted(numbers))).encode()
            assert reduced.isdisjoint(numbers), "reduced twice"
            reduced |= numbers
        named: set[int] = set()
        for gap in self.ring.gaps(sealed - origin):
            numbers = set(range(gap.span.first + origin, gap.span.last + origin + 1))
            assert numbers.isdisjoint(n for n in stored if n > sealed)
            assert gap.why in ("reduced", "evicted")
            if gap.why == "reduced":
                assert numbers <= reduced | set(range(sealed + 1))
            named |= numbers
        everything = set(range(sealed + 1, origin + self.ring.last + 1))
        assert everything <= stored | named
