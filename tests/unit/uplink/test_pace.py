"""The line's pace as receipts show it: what may be unanswered, and how large a batch of a backlog is."""

from __future__ import annotations

import pytest

from lamppost.uplink.pace import (
    FIRST_READINGS,
    LEAST_QUEUE,
    LEAST_READINGS,
    MOST_READINGS,
    Pace,
)

KB = 1000


class Line:
    """A line of so many bytes a second and a round trip, in its own time; batches of `size` bytes."""

    def __init__(self, rate: float, trip: float = 0.05, size: int = 40 * KB) -> None:
        self.pace = Pace()
        self.rate, self.trip, self.size = rate, trip, size
        self.now = self.free = 0.0
        self.out: list[tuple[int, float]] = []
        self.number = 0
        self.worst = 0.0  # the longest that something urgent would have had to wait

    def send(self, limit: int = 64) -> None:
        while len(self.out) < limit and self.pace.allows(self.size):
            self.pace.sent(self.number, self.size, self.size // 20, self.now)
            self.free = max(self.free, self.now) + self.size / self.rate
            self.out.append((self.number, self.free + self.trip))
            self.number += 1
        self.worst = max(self.worst, self.free - self.now)

    def receipt(self) -> None:
        number, at = self.out.pop(0)
        self.now = max(self.now, at)
        self.pace.proved(number, self.now)

    def run(self, batches: int, limit: int = 64) -> float:
        begin = self.now
        for _ in range(batches):
            self.send(limit)
            self.receipt()
        return self.now - begin


@pytest.mark.parametrize(
    ("rate", "trip"), [(20 * KB, 0.05), (100 * KB, 0.2), (2000 * KB, 0.05), (500 * KB, 0.7)]
)
def test_the_rate_is_found_and_the_line_is_used(rate: float, trip: float) -> None:
    line = Line(rate, trip)
    line.run(20, limit=4)
    took = line.run(200)
    assert line.pace.rate is not None
    assert line.pace.rate == pytest.approx(rate, rel=0.3)
    assert took < 1.3 * 200 * line.size / rate


def test_what_is_unanswered_is_a_second_of_the_line_but_one_batch_always() -> None:
    line = Line(100 * KB, 0.05)
    line.run(10, limit=2)
    line.worst = 0.0
    line.run(200)
    assert line.worst <= 1.5
    slow = Line(2 * KB)
    slow.run(3, limit=1)
    slow.worst = 0.0
    slow.run(10)
    assert slow.pace.unanswered <= max(LEAST_QUEUE, slow.size)


def test_batches_fit_the_line() -> None:
    assert Pace().readings == FIRST_READINGS
    slow, middle, fast = Line(1 * KB), Line(100 * KB), Line(50_000 * KB)
    for line in (slow, middle, fast):
        line.run(30, limit=4)
    assert slow.pace.readings == LEAST_READINGS
    assert LEAST_READINGS < middle.pace.readings < MOST_READINGS
    assert middle.pace.readings * 20 / (100 * KB) == pytest.approx(0.5, rel=0.4)
    assert fast.pace.readings == MOST_READINGS


def test_a_line_that_becomes_slow_is_believed_and_single_batches_do_not_count_as_slow() -> None:
    line = Line(1000 * KB)
    line.run(50)
    line.rate = 50 * KB
    line.run(60)
    assert line.pace.rate is not None
    assert line.pace.rate < 100 * KB
    quiet = Line(1000 * KB)
    quiet.run(50)
    while quiet.out:
        quiet.receipt()
    known = quiet.pace.rate
    quiet.size = 2 * KB
    for _ in range(100):  # live windows: one small batch at a time says little of the line
        quiet.now += 60
        quiet.run(1, limit=1)
    assert quiet.pace.rate == known


def test_trouble_halves_and_a_lost_connection_forgets_what_is_out() -> None:
    line = Line(1000 * KB)
    line.run(50)
    before = line.pace.rate
    assert before is not None
    line.pace.troubled()
    assert line.pace.rate == before / 2
    line.send()
    assert line.pace.unanswered > 0
    line.pace.lost()
    assert line.pace.unanswered == 0
    line.pace.proved(line.out[-1][0], line.now)  # a late receipt says nothing
    assert line.pace.rate == before / 2


def test_only_what_is_out_counts() -> None:
    pace = Pace()
    for number in range(4):
        pace.sent(number, 10 * KB, 500, 0.0)
    pace.sent(3, 10 * KB, 500, 1.0)  # again
    assert pace.unanswered == 40 * KB
    pace.only({1})
    assert pace.unanswered == 10 * KB
