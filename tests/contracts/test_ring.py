"""What every ring does: the real one on real files and on a simulated disk, and the list in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from fakes.crash_disk import CrashDisk
from fakes.list_ring import ListRing
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring

AnyRing: TypeAlias = Ring | ListRing
Maker: TypeAlias = Callable[[Path], AnyRing]


def _files(folder: Path) -> AnyRing:
    return Ring.open(folder / "ring", 1 << 20)


def _disk(folder: Path) -> AnyRing:
    return Ring.open(folder / "ring", 64 * 4096, files=CrashDisk(), segment=4096)


def _list(_folder: Path) -> AnyRing:
    return ListRing()


@pytest.fixture(params=[_files, _disk, _list], ids=["files", "disk", "list"])
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> AnyRing:
    maker: Maker = request.param
    made = maker(tmp_path)
    request.addfinalizer(made.close)
    return made


def batch(ring: AnyRing, last: int, **changes: object) -> Batch:
    head = ring.head()
    span = Span(head.span.last + 1 if head else 0, last)
    made = Batch(
        ring.epoch, head.seq + 1 if head else 0, span, b"d" * 32, b"l" * 32, b"sealed", b"s"
    )
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


def test_a_new_ring_is_empty(ring: AnyRing) -> None:
    assert (ring.last, ring.settled_through, ring.head(), ring.held()) == (-1, -1, None, [])
    assert ring.read(-1, 1000) == []
    assert ring.gaps(-1) == []
    stats = ring.stats()
    assert (stats.state, stats.appended, stats.evicted, stats.first) == ("ok", 0, 0, 0)


def test_readings_are_numbered_from_zero_without_a_gap(ring: AnyRing) -> None:
    assert ring.append([Record(3, b"a"), Record(1, b"b")]) == Span(0, 3)
    assert ring.append([Record(2, b"c")]) == Span(4, 5)
    assert ring.last == 5
    assert [(s.span, s.payload) for s in ring.read(-1, 1000)] == [
        (Span(0, 2), b"a"),
        (Span(3, 3), b"b"),
        (Span(4, 5), b"c"),
    ]


def test_an_empty_group_takes_no_number(ring: AnyRing) -> None:
    ring.append([Record(1, b"a")])
    assert ring.append([]) == Span(1, 0)
    assert ring.last == 0


@pytest.mark.parametrize("count", [0, -1, 65_536])
def test_a_count_out_of_range_is_refused_and_nothing_kept(ring: AnyRing, count: int) -> None:
    with pytest.raises(ValueError, match="stands for 1 to"):
        ring.append([Record(1, b"good"), Record(count, b"bad")])
    assert ring.last == -1
    assert ring.read(-1, 1000) == []


def test_read_begins_at_the_first_record_that_starts_past_after(ring: AnyRing) -> None:
    ring.append([Record(3, b"a"), Record(3, b"b"), Record(3, b"c")])
    assert [s.payload for s in ring.read(0, 1000)] == [b"b", b"c"]
    assert [s.payload for s in ring.read(2, 1000)] == [b"b", b"c"]
    assert [s.payload for s in ring.read(5, 1000)] == [b"c"]
    assert ring.read(8, 1000) == []


def test_read_stops_near_the_limit_and_gives_at_least_one(ring: AnyRing) -> None:
    ring.append([Record(1, bytes([i]) * 100) for i in range(10)])
    assert len(ring.read(-1, 1)) == 1
    assert len(ring.read(-1, 250)) == 3
    pages, after = [], -1
    while stored := ring.read(after, 250):
        pages += stored
        after = stored[-1].span.last
    assert [s.payload[0] for s in pages] == list(range(10))


def test_a_held_batch_comes_back_byte_for_byte(ring: AnyRing) -> None:
    ring.append([Record(4, b"a")])
    sealed = batch(ring, 3, message=bytes(range(256)) * 3, state=b"\0carry\xff")
    ring.hold(sealed)
    assert ring.held() == [sealed]
    assert ring.head() == sealed
    ring.hold(sealed)
    assert ring.held() == [sealed]


def test_only_the_next_batch_is_held(ring: AnyRing) -> None:
    ring.append([Record(4, b"a"), Record(4, b"b")])
    wrong: list[dict[str, object]] = [
        {"epoch": "another"},
        {"seq": 1},
        {"span": Span(1, 3)},
        {"span": Span(0, 8)},
        {"span": Span(0, -1)},
    ]
    for changes in wrong:
        with pytest.raises(ValueError):
            ring.hold(batch(ring, 3, **changes))
    assert ring.held() == []


def test_a_receipt_settles_its_batch(ring: AnyRing) -> None:
    ring.append([Record(4, b"a")])
    sealed = batch(ring, 3)
    ring.hold(sealed)
    assert ring.settle(ring.epoch, 0) is True
    assert (ring.settled_through, ring.held(), ring.head()) == (3, [], sealed)
    assert ring.settle(ring.epoch, 0) is False


def test_receipts_out_of_order_move_the_cursor_over_whole_prefixes_only(ring: AnyRing) -> None:
    for i in range(4):
        ring.append([Record(2, b"x")])
        ring.hold(batch(ring, 2 * i + 1))
    assert ring.settle(ring.epoch, 2) is False
    assert ring.settle(ring.epoch, 1) is False
    assert ring.settle(ring.epoch, 1) is False
    assert (ring.settled_through, len(ring.held())) == (-1, 4)
    assert ring.settle(ring.epoch, 0) is True
    assert (ring.settled_through, [b.seq for b in ring.held()]) == (5, [3])
    assert ring.settle(ring.epoch, 3) is True
    assert ring.settled_through == 7


def test_a_receipt_for_something_else_changes_nothing(ring: AnyRing) -> None:
    ring.append([Record(2, b"x")])
    ring.hold(batch(ring, 1))
    assert ring.settle("another epoch", 0) is False
    assert ring.settle(ring.epoch, 1) is False
    assert ring.settle(ring.epoch, -1) is False
    assert (ring.settled_through, len(ring.held())) == (-1, 1)


def test_stats_tell_what_happened(ring: AnyRing) -> None:
    ring.append([Record(5, b"x"), Record(2, b"y", urgent=True)])
    ring.hold(batch(ring, 4))
    stats = ring.stats()
    assert (stats.epoch, stats.last, stats.appended, stats.held) == (ring.epoch, 6, 7, 1)
    assert (stats.first, stats.settled_through, stats.evicted, stats.state) == (0, -1, 0, "ok")
    assert stats.bytes_used <= stats.bytes_limit
