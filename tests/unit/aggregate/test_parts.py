"""Coarse windows: the same figures as from all samples at once, through bytes and back, and joined on the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import pytest

from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.aggregate.partbytes import pack_parts, unpack_parts
from lamppost.aggregate.parts import Part, Placed, part_of, settle_parts, widened
from lamppost.aggregate.tally import Row
from lamppost.model import Instant, Quality, Reading, Sample, Scalar, Severity, TimeQuality, Window
from lamppost.packing import columns, pack

S = 10**9
WIDTH = 900 * S
POINTS = ("power", "energy", "state", "serial")
KINDS = {("meter", "energy"): "counter"}
BAD = Quality(Severity.BAD, "no_response")
ODD = Quality(Severity.UNCERTAIN, "out_of_range")


def sample(at: float, values: Sequence[Scalar | None], quality: Quality | None = None) -> Sample:
    first = Reading(POINTS[0], values[0], quality or Quality(Severity.GOOD, "good"))
    rest = [Reading(p, v) for p, v in zip(POINTS[1:], values[1:], strict=True)]
    return Sample("meter", Instant("boot-1", round(at * S)), (first, *rest))


def parts_of(samples: Sequence[Sample]) -> list[Part]:
    """As the reduction makes them, through bytes."""
    rows: dict[int, Row] = {}
    newest: dict[int, int] = {}
    for one in samples:
        _, ns, device, names, values, marks = columns(pack(one))
        start = ns // WIDTH * WIDTH
        row = rows.setdefault(
            start, Row(names, [KINDS.get((device, n)) == "counter" for n in names])
        )
        row.take(ns, values, marks)
        newest[start] = max(newest.get(start, 0), ns)
    found = []
    for start, row in rows.items():
        cell = [
            part_of(t, "meter", name, "boot-1", start, start + WIDTH, newest[start])
            for name, t in zip([r.point for r in samples[0].readings], row.tallies(), strict=True)
        ]
        found += unpack_parts(pack_parts(cell))
    return found


def windows_of(samples: Sequence[Sample], carry: Carry) -> tuple[list[Window], Carry]:
    placed = [Placed(p, p.observed, TimeQuality.SYNCED) for p in parts_of(samples)]
    return settle_parts(placed, carry)


def expected(samples: Sequence[Sample], carry: Carry) -> tuple[list[Window], Carry]:
    timed = [Timed(s, s.at.ns, TimeQuality.SYNCED) for s in samples]
    return reduce_windows(timed, WIDTH, KINDS, carry)


def same(found: Sequence[Window], wanted: Sequence[Window]) -> None:
    assert [(w.point, w.start, w.count) for w in found] == [
        (w.point, w.start, w.count) for w in wanted
    ]
    for mine, theirs in zip(found, wanted, strict=True):
        for name in Window.__struct_fields__:
            one, two = getattr(mine, name), getattr(theirs, name)
            if isinstance(two, float):
                assert one == pytest.approx(two, rel=1e-6), (name, mine, theirs)
            else:
                assert one == two, (name, mine, theirs)


@pytest.mark.parametrize("seed", range(8))
def test_parts_say_what_samples_say(seed: int) -> None:
    dice = Random(seed)
    samples, stand = [], 500.0
    for second in range(0, 3600, 20):
        stand = dice.choice(
            (stand + dice.random(), stand + 2, 0.5 if dice.random() < 0.02 else stand)
        )
        value: Scalar | None = dice.choice(
            (dice.gauss(230, 5), 7, None if seed % 2 else 1.5, math.nan)
        )
        quality = dice.choice((None, None, None, ODD, BAD)) if seed % 3 else None
        serial = "A-1" if second < 1700 else "B-7"
        samples.append(sample(second, (value, stand, bool(second % 40), serial), quality))
    known = Carry({("meter", "energy"): (490.0, -5 * S)}, {"meter": "A-1"} if seed % 2 else {})
    found, carry = windows_of(samples, known)
    wanted, reference = expected(samples, known)
    same([w for w in found if w.point != "energy"], [w for w in wanted if w.point != "energy"])
    assert (carry.stands, carry.meters) == (dict(reference.stands), dict(reference.meters))


@pytest.mark.parametrize("seed", range(4))
def test_a_counter_counts_across_parts_as_across_windows(seed: int) -> None:
    dice = Random(seed)
    stands = [100.0]
    for _ in range(179):
        stands.append(0.25 if dice.random() < 0.03 else stands[-1] + dice.random())
    samples = [sample(20 * i, (1.0, stand, True, "A-1")) for i, stand in enumerate(stands)]
    for known in (Carry(), Carry({("meter", "energy"): (99.0, -S)}, {})):
        found, carry = windows_of(samples, known)
        wanted, reference = expected(samples, known)
        same(found, wanted)
        assert carry.stands == dict(reference.stands)


def test_all_good_columns_and_single_readings_agree() -> None:
    """The fast way for samples of good floats, and what happens when one is not."""
    dice = Random(3)
    plain = [
        Sample(
            "meter",
            Instant("boot-1", i * 20 * S),
            (Reading("power", dice.gauss(5, 1)), Reading("energy", 10.0 + i)),
        )
        for i in range(40)
    ]
    late = Sample("meter", Instant("boot-1", 45 * S), plain[0].readings)
    bad = Sample(
        "meter", Instant("boot-1", 801 * S), (Reading("power", None, BAD), Reading("energy", 60.0))
    )
    for samples in (plain, [*plain, bad], [bad, *plain[41:]], [plain[0], plain[0]], plain[:1]):
        same(windows_of(samples, Carry())[0], expected(samples, Carry())[0])
    (power, _) = windows_of([*plain, late], Carry())[0]
    assert power.count == 41


def test_a_new_meter_between_two_parts_counts_nothing() -> None:
    before, carry = windows_of([sample(0, (1.0, 100.0, True, "A-1"))], Carry())
    after, carry = windows_of([sample(1000, (1.0, 250.0, True, "B-7"))], carry)
    assert next(w.delta for w in before if w.point == "energy") is None
    assert next(w.delta for w in after if w.point == "energy") == 0.0
    assert carry.meters == {"meter": "B-7"}


def test_two_parts_of_one_window_are_one() -> None:
    samples = [sample(20 * i, (float(i), 100.0 + i, True, "A-1")) for i in range(45)]
    placed = [
        Placed(p, p.observed, TimeQuality.SYNCED)
        for half in (samples[:20], samples[20:])
        for p in parts_of(half)
    ]
    found, _ = settle_parts(placed, Carry())
    wanted, _ = expected(samples, Carry())
    assert [(w.point, w.count, w.low, w.high, w.last) for w in found] == [
        (w.point, w.count, w.low, w.high, w.last) for w in wanted
    ]
    energy = next(w for w in found if w.point == "energy")
    assert energy.delta == 44.0


def test_parts_are_put_into_wider_windows() -> None:
    parts = parts_of([sample(3500, (1.0, 2.0, True, "x"))])
    (placed, *_) = widened([Placed(p, p.observed, TimeQuality.SYNCED) for p in parts], 3600 * S)
    assert (placed.part.start, placed.part.end) == (0, 3600 * S)


def test_huge_integers_and_nothing_at_all_can_be_kept() -> None:
    parts = parts_of([sample(0, (2**70, 1.0, True, "x")), sample(20, (None, 1.5, False, "x"))])
    assert parts[0].last == float(2**70)
    assert parts[0].mean == float(2**70)


@pytest.mark.parametrize("junk", [b"", b"\x90", b"\x93\x02\xa1b\xa1d", b"\xc0"])
def test_foreign_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_parts(junk)
