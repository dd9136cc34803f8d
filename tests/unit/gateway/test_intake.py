"""Samples become durable in groups, and no failure of the store loses more than it must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lamppost.config.schema import RingSettings
from lamppost.errors import StoreError
from lamppost.intake import MAX_PENDING, Intake
from lamppost.model import Instant, Reading, Sample, Span
from lamppost.packing import unpack
from lamppost.ring import Record, Ring
from lamppost.ring.offloop import OffLoop
from lamppost.rings import Rings


def sample(number: int, device: str = "meter") -> Sample:
    return Sample(device, Instant("boot-1", number), (Reading("power", float(number)),))


class FailingRing(OffLoop):
    """A ring whose disk answers as the test says."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self.fault: Callable[[Sequence[Record]], StoreError | None] = lambda records: None

    async def append(self, records: Sequence[Record]) -> Span:
        if failed := self.fault(records):
            raise failed
        return await super().append(records)


async def kept(ring: FailingRing) -> list[int]:
    stored = await ring.call(lambda r: r.read(-1, 1 << 20))
    return [unpack(s.payload).at.ns for s in stored]


def store_error(code: str, *, retry: bool) -> StoreError:
    return StoreError("", code=code, hint="", retry=retry)


async def test_a_group_waits_for_a_disk_that_will_be_well_again(tmp_path: Path) -> None:
    ring = FailingRing(Ring.open(tmp_path, 1 << 20))
    intake = Intake(ring)
    intake.deliver(sample(1))
    ring.fault = lambda records: store_error("ring.io-error", retry=True)
    await intake.flush()
    intake.deliver(sample(2))
    assert intake.pending == 2
    ring.fault = lambda records: None
    await intake.flush()
    assert (await kept(ring), intake.pending) == ([1, 2], 0)
    await ring.close()


async def test_a_sample_that_can_never_be_stored_takes_no_other_with_it(tmp_path: Path) -> None:
    ring = FailingRing(Ring.open(tmp_path, 1 << 20))
    intake = Intake(ring)

    def too_big(records: Sequence[Record]) -> StoreError | None:
        if any(unpack(r.payload).device == "monster" for r in records):
            return store_error("ring.record-too-big", retry=False)
        return None

    ring.fault = too_big
    for number in (1, 2, 3):
        intake.deliver(sample(number, "monster" if number == 2 else "meter"))
    await intake.flush()
    assert (await kept(ring), intake.pending, intake.overflowed) == ([1, 3], 0, 1)
    await ring.close()


async def test_what_overflows_is_counted_and_the_oldest_gives_way(tmp_path: Path) -> None:
    ring = FailingRing(Ring.open(tmp_path, 1 << 20))
    intake = Intake(ring)
    for number in range(MAX_PENDING + 3):
        intake.deliver(sample(number))
    assert (intake.pending, intake.overflowed) == (MAX_PENDING, 3)
    await ring.close()


def test_beside_a_ring_that_must_not_be_touched_a_spare_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    foreign = tmp_path / "ring" / "ring.head"
    foreign.write_bytes(b"somebody else's file " * 400)
    rings = Rings(tmp_path, RingSettings(size="1MiB"))
    assert rings.refused == "foreign"
    assert rings.ring.append([Record(1, b"x")]) == Span(0, 0)
    rings.ring.close()
    rings.close()
    assert foreign.read_bytes() == b"somebody else's file " * 400


def test_a_ring_in_use_is_no_reason_for_a_spare_one(tmp_path: Path) -> None:
    ring = Ring.open(tmp_path / "ring", 1 << 20)
    with pytest.raises(StoreError) as refused:
        Rings(tmp_path, RingSettings(size="1MiB"))
    assert refused.value.code == "store.in-use"
    ring.close()


async def test_the_evidence_of_an_alert_is_kept_as_urgent(tmp_path: Path) -> None:
    ring = FailingRing(Ring.open(tmp_path / "ring", 1 << 20))
    stored: list[bool] = []

    def note(records: Sequence[Record]) -> None:
        stored.extend(record.urgent for record in records)

    ring.fault = note
    intake = Intake(ring)
    intake.deliver(sample(0))
    intake.deliver(sample(1), urgent=True)
    intake.deliver(sample(2))
    await intake.flush()
    assert stored == [False, True, False]
    assert await kept(ring) == [0, 1, 2]
    await ring.close()
