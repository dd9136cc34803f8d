"""Timed samples → windows, aligned to multiples of the width since 1970 (UTC)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from operator import attrgetter, itemgetter

from lamppost.aggregate.carry import Carry, Key, Stand
from lamppost.aggregate.reduce import counted, time_weighted_mean
from lamppost.model import (
    GOOD,
    Quality,
    Reading,
    Sample,
    Scalar,
    Severity,
    TimeQuality,
    Window,
)

# Text points by which a device tells which meter it is; a change means an exchange.
IDENTITY = frozenset({"serial", "meter.serial", "meter.id", "equipment.id"})
# A counter is not advanced by readings that one of these reasons puts in doubt; the next sound one catches up.
DOUBTFUL_STANDS = frozenset({"out_of_range", "step"})

_TRUST = {TimeQuality.SYNCED: 0, TimeQuality.HOLDOVER: 1, TimeQuality.UNSYNCED: 2}


@dataclass(frozen=True, slots=True)
class Timed:
    """A sample with its place in time: UTC nanoseconds, and how far that may be trusted."""

    sample: Sample
    utc: int
    quality: TimeQuality


class _Cell:
    """One point in one window, while it fills."""

    __slots__ = (
        "bad",
        "bad_reason",
        "good",
        "last",
        "last_at",
        "newest",
        "numbers",
        "sound",
        "times",
        "trust",
        "uncertain",
        "uncertain_reason",
    )

    def __init__(self, utc: int, trust: TimeQuality) -> None:
        self.good = self.uncertain = self.bad = 0
        self.uncertain_reason = self.bad_reason = ""
        self.newest = utc
        self.trust = trust
        self.last: Scalar | None = None
        self.last_at = utc
        self.times: list[int] = []
        self.numbers: list[float] = []
        self.sound: list[bool] = []  # whether a counter may be advanced by it


def reduce_windows(
    samples: Iterable[Timed], width_ns: int, kinds: Mapping[Key, str], carry: Carry
) -> tuple[list[Window], Carry]:
    """Reduce samples to windows of `width_ns` nanoseconds; `kinds` tells "counter" from "gauge" (the default).

    Every reading given is counted in exactly one window: the sum of `Window.count` is the number of readings,
    whatever their type and quality. Numbers that are not finite, text and truth values have no mean and no range; text
    and truth values still have a `last`. Windows come in the order of (start, device, point). The carry returned holds
    the stands of the counters named in `kinds`, and meter identities. Samples may come in any order.

    Quality of a window: bad, with the first bad reason, only if no reading was good or uncertain; uncertain, with the
    first uncertain reason, if one was uncertain; uncertain `partial` if some were bad beside good ones; else good.
    """
    if width_ns <= 0:
        raise ValueError("a window has a width above zero")
    held: dict[tuple[int, str], dict[str, _Cell] | Timed] = {}
    told: list[tuple[int, str, str]] = []
    for timed in samples:
        place = (timed.utc - timed.utc % width_ns, timed.sample.device)
        before = held.get(place)
        points = [reading.point for reading in timed.sample.readings]
        if before is None and len(set(points)) == len(points):
            held[place] = timed  # many windows hold one sample: they are made of it directly
        elif isinstance(before, dict):
            _fill(before, timed)
        else:
            cells: dict[str, _Cell] = {}
            held[place] = cells
            if before is not None:
                _fill(cells, before)
            _fill(cells, timed)
        if not IDENTITY.isdisjoint(points):
            _listen(told, timed)
    exchanges, meters = _exchanges(told, carry.meters)
    stands = {key: s for key, s in carry.stands.items() if kinds.get(key) == "counter"}
    windows: list[Window] = []
    for (start, device), content in sorted(held.items(), key=itemgetter(0)):
        moved = exchanges.get(device, ())
        if isinstance(content, Timed):
            windows += _of_sample(content, start, start + width_ns, kinds, stands, moved)
            continue
        for point in sorted(content):
            key = (device, point)
            counter = kinds.get(key) == "counter"
            cell = content[point]
            stood = sorted(zip(cell.times, cell.numbers, cell.sound, strict=True))
            delta = _advance(stands, key, stood, moved) if counter else None
            windows.append(_window(key, start, width_ns, cell, counter, delta))
    return windows, Carry(stands, meters)


def _listen(told: list[tuple[int, str, str]], timed: Timed) -> None:
    """Note by which name the meter goes that this sample comes from, if it says so."""
    told.extend(
        (timed.utc, timed.sample.device, r.value)
        for r in timed.sample.readings
        if r.point in IDENTITY
        and isinstance(r.value, str)
        and r.quality.severity is not Severity.BAD
    )


def _of_sample(
    timed: Timed,
    start: int,
    end: int,
    kinds: Mapping[Key, str],
    stands: dict[Key, Stand],
    exchanges: tuple[int, ...],
) -> list[Window]:
    """The windows of a sample that is alone in its windows, by point."""
    windows: list[Window] = []
    device, utc, trust = timed.sample.device, timed.utc, timed.quality
    for reading in sorted(timed.sample.readings, key=attrgetter("point")):
        point, value = reading.point, reading.value
        counter = kinds.get((device, point)) == "counter"
        if counter or reading.quality is not GOOD or type(value) is not float:
            window = _of_one(reading, timed, start, end, counter, stands, exchanges)
        elif isfinite(value):  # nearly all
            window = Window(
                device, point, start, end, utc, trust, GOOD, 1, 0, 0, value, value, value, value
            )
        else:
            window = Window(device, point, start, end, utc, trust, GOOD, 1, 0, 0)
        windows.append(window)
    return windows


def _of_one(
    reading: Reading,
    timed: Timed,
    start: int,
    end: int,
    counter: bool,
    stands: dict[Key, Stand],
    exchanges: tuple[int, ...],
) -> Window:
    """The window of a single reading: what `_fill` and `_window` would make of it."""
    key = (timed.sample.device, reading.point)
    severity, value = reading.quality.severity, reading.value
    bad = severity is Severity.BAD
    number: float | None = None
    if bad:
        value = None
    elif value is not None and not isinstance(value, (bool, str)):
        if isfinite(value):
            number = value
        else:
            value = None
    mean = delta = None
    if counter:
        sound = reading.quality.reason not in DOUBTFUL_STANDS
        stood = [] if number is None else [(timed.utc, number, sound)]
        delta = _advance(stands, key, stood, exchanges)
    elif number is not None:
        mean = float(number)
    return Window(
        key[0],
        key[1],
        start,
        end,
        timed.utc,
        timed.quality,
        GOOD if severity is Severity.GOOD else reading.quality,
        int(severity is Severity.GOOD),
        int(severity is Severity.UNCERTAIN),
        int(bad),
        value,
        mean,
        mean,
        mean,
        delta,
    )


def _fill(points: dict[str, _Cell], timed: Timed) -> None:
    sample, utc, trust = timed.sample, timed.utc, timed.quality
    for reading in sample.readings:
        cell = points.get(reading.point)
        if cell is None:
            cell = points[reading.point] = _Cell(utc, trust)
        elif utc > cell.newest:
            cell.newest = utc
        if trust is not cell.trust and _TRUST[trust] > _TRUST[cell.trust]:
            cell.trust = trust
        value, quality = reading.value, reading.quality
        reason = quality.reason
        if quality.severity == Severity.GOOD:
            cell.good += 1
        elif quality.severity == Severity.UNCERTAIN:
            cell.uncertain += 1
            cell.uncertain_reason = cell.uncertain_reason or reason
        else:
            cell.bad += 1
            cell.bad_reason = cell.bad_reason or reason
            continue
        if value is not None:
            _take(cell, value, utc, reason not in DOUBTFUL_STANDS)


def _take(cell: _Cell, value: Scalar, utc: int, sound: bool) -> None:
    if not isinstance(value, (bool, str)):
        if not isfinite(value):
            return
        cell.times.append(utc)
        cell.numbers.append(value)
        cell.sound.append(sound)
    if cell.last is None or utc >= cell.last_at:
        cell.last, cell.last_at = value, utc


def _exchanges(
    told: list[tuple[int, str, str]], known: Mapping[str, str]
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """When the meter behind a device changed (UTC nanoseconds, ascending), and which is there now."""
    meters = dict(known)
    moments: dict[str, tuple[int, ...]] = {}
    for utc, device, identity in sorted(told):
        if meters.setdefault(device, identity) != identity:
            moments[device] = (*moments.get(device, ()), utc)
            meters[device] = identity
    return moments, meters


def _advance(
    stands: dict[Key, Stand],
    key: Key,
    stood: Sequence[tuple[int, float, bool]],
    exchanges: tuple[int, ...],
) -> float | None:
    """What the counter counted in this window, moving its stand; None where nothing could be compared.

    `stood` is (UTC, value, whether it is sound), in order.
    """
    total: float | None = None
    stand = stands.get(key)
    for utc, value, sound in stood:
        if not sound or (stand is not None and utc < stand[1]):
            continue
        if stand is None:
            stand = (value, utc)
        elif any(stand[1] < moment <= utc for moment in exchanges):
            stand, total = (value, utc), total or 0.0
        else:
            step, going_on = counted(stand[0], value)
            stand, total = (going_on, utc), (total or 0.0) + step
    if stand is not None:
        stands[key] = stand
    return total


def _window(
    key: Key, start: int, width: int, cell: _Cell, counter: bool, delta: float | None
) -> Window:
    mean = low = high = None
    if cell.numbers and not counter:
        times, numbers = cell.times, cell.numbers
        if any(later < earlier for earlier, later in pairwise(times)):
            order = sorted(range(len(times)), key=times.__getitem__)
            times, numbers = [times[i] for i in order], [numbers[i] for i in order]
        mean = time_weighted_mean(times, numbers)
        low, high = float(min(numbers)), float(max(numbers))
    return Window(
        device=key[0],
        point=key[1],
        start=start,
        end=start + width,
        observed=cell.newest,
        time_quality=cell.trust,
        quality=_quality(cell),
        good=cell.good,
        uncertain=cell.uncertain,
        bad=cell.bad,
        last=cell.last,
        mean=mean,
        low=low,
        high=high,
        delta=delta,
    )


def _quality(cell: _Cell) -> Quality:
    if cell.uncertain:
        return Quality(Severity.UNCERTAIN, cell.uncertain_reason)
    if not cell.good:
        return Quality(Severity.BAD, cell.bad_reason)
    return Quality(Severity.UNCERTAIN, "partial") if cell.bad else GOOD
