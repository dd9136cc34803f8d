"""What one window says of one point: the mean of a gauge, the increase of a counter.

Gauge. The mean is weighted by time: between two neighbouring readings the value is taken to run straight from one to
the other (the trapezium rule), so a burst of readings does not count for more than the time it covers. It covers the
time from the window's first reading to its last; nothing is taken from other windows and nothing is extrapolated, so
a window does not depend on where a batch was cut. Readings that all bear one time give their arithmetic mean.
(OPC UA Part 13 calls this TimeAverage without bounding values.)

Counter. `delta` is what was counted from the newest older stand to the window's newest one. A stand below the one
before it is judged in this order:

1. *jitter*: lower by no more than a float32 can err (2**-22 of the value). Nothing was counted; the higher
   stand stays.
2. *rollover*: the older stand lies within 1 % below a limit at which registers end (a power of ten, or 2**16,
   2**24, 2**31, 2**32, these also with one to three decimals), the new one within 1 % above zero. Counted: what was
   left to the limit, and the new stand.
3. *reset*: the new stand is at most 1 % of the older one. The counter, or a new meter, began at zero. Counted: the
   new stand.
4. *exchange*: any other fall. Another meter with a stand of its own. Nothing is counted; the next stand counts from
   here.

A meter that was exchanged for one with a *higher* stand cannot be told from consumption by its value; it is
recognised where the device tells its identity (a text point of `windows.IDENTITY`), and then nothing is counted.
A reading older than the newest stand (it came late) counts nothing: what it saw is already in a delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

JITTER = 2.0**-22
NEAR = 0.01
_BINARY = (2.0**16, 2.0**24, 2.0**31, 2.0**32)
LIMITS = tuple(
    sorted(
        {10.0**digits for digits in range(3, 13)}
        | {limit / 10**decimals for limit in _BINARY for decimals in range(4)}
    )
)


def time_weighted_mean(times: Sequence[int], values: Sequence[float]) -> float:
    """The mean of `values` at `times` (nanoseconds, ascending, as many as values and at least one)."""
    if len(values) == 1:
        return float(values[0])
    covered = times[-1] - times[0]
    if covered == 0:
        mean = sum(value / len(values) for value in values)
    else:  # halves and shares first: the sum of two huge values would not be a number
        pairs = pairwise(zip(times, values, strict=True))
        mean = sum((v / 2 + w / 2) * ((u - t) / covered) for (t, v), (u, w) in pairs)
    return float(min(max(mean, min(values)), max(values)))  # rounding must not leave the range


def counted(before: float, after: float) -> tuple[float, float]:
    """What a counter counted from stand `before` to stand `after`, and the stand to go on from."""
    if after >= before:
        return after - before, after
    if before - after <= abs(before) * JITTER:
        return 0.0, before
    limit = _limit_above(before)
    if limit is not None and 0 <= after <= limit * NEAR:
        return limit - before + after, after
    if 0 <= after <= before * NEAR:
        return after, after
    return 0.0, after


def _limit_above(stand: float) -> float | None:
    for limit in LIMITS:
        if limit * (1 - NEAR) <= stand <= limit:
            return limit
    return None
