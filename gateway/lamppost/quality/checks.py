"""What a driver decoded becomes readings: absent values, impossible numbers, range, limits, steps, stuck values.

Pure. A value that is doubted is kept as it is; only its quality says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lamppost.model import GOOD, Quality, Reading, Scalar
from lamppost.quality.codes import quality, worst
from lamppost_drivers.contract import Absent, Kind, Point, Values

_OUT_OF_RANGE = quality("out_of_range")
_AT_LIMIT = quality("at_limit")
_SENSOR_FAULT = quality("sensor_fault")
_NOT_AVAILABLE = quality("not_available")
_STEP = quality("step")
_STUCK = quality("stuck")

_ABSENT: Mapping[Absent, Quality] = {
    Absent.NOT_AVAILABLE: _NOT_AVAILABLE,
    Absent.SENSOR_FAULT: _SENSOR_FAULT,
    Absent.WARMING_UP: _NOT_AVAILABLE,  # it will be there soon; OPC UA has no finer word
}

_RATIOS = frozenset({"/", "%", "%RH", "1"})
"""A ratio stands at its bounds by right (humidity 100 %, power factor 1); a sensor's scale end is another matter."""


def of_value(point: Point, value: Scalar | Absent | None) -> Reading:
    """The reading of one value: bad where there is none or it is no number, uncertain outside the plausible range.

    A number at an end of a gauge's range is `at_limit`, except at zero and for ratios, which rest there by right.
    """
    if type(value) is float and point.low < value < point.high:  # nearly always so
        return Reading(point.name, value)
    if isinstance(value, Absent):
        return Reading(point.name, None, _ABSENT[value])
    if value is None:
        return Reading(point.name, None, _NOT_AVAILABLE)
    if isinstance(value, (bool, str)):
        return Reading(point.name, value)
    return Reading(point.name, value, _doubt(point, value))


def _doubt(point: Point, value: float) -> Quality:
    """Why a number is doubted, or good if it is not: well inside the range, or at a bound by right."""
    if point.low < value < point.high:
        return GOOD
    if not math.isfinite(value):
        return _SENSOR_FAULT
    if value < point.low or value > point.high:
        return _OUT_OF_RANGE
    if value == 0 or point.kind is Kind.COUNTER or point.unit in _RATIOS:
        return GOOD
    return _AT_LIMIT


def absent(points: Iterable[Point], reason: Quality) -> tuple[Reading, ...]:
    """Readings without a value, all for one reason: the device is silent, the link is gone."""
    return tuple([Reading(point.name, None, reason) for point in points])


@dataclass(frozen=True, slots=True)
class Limits:
    """What else makes a point's value doubtful; None: nothing does.

    `step`: the largest credible change per second, in the point's unit. `stuck`: seconds for which exactly the same
    value is credible. Both are the site's business, since they depend on the place and not on the model.
    """

    step: float | None = None
    stuck: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What a check must remember of a point: the newest number, when it came, and since when it has not changed."""

    value: float
    at: float
    since: float


def against_past(
    reading: Reading, limits: Limits, trace: Trace | None, at: float
) -> tuple[Reading, Trace | None]:
    """Doubt a reading for how it follows the last one; `at` in seconds, monotonic. Returns what to remember next.

    Readings without a number pass and leave the memory as it is.
    """
    value = reading.value
    if isinstance(value, (bool, str)) or value is None or not math.isfinite(value):
        return reading, trace
    if trace is None:
        return reading, Trace(value, at, at)
    doubt = GOOD
    if limits.step is not None and abs(value - trace.value) > limits.step * max(at - trace.at, 0.0):
        doubt = _STEP
    since = trace.since if value == trace.value else at
    if limits.stuck is not None and at - since > limits.stuck:
        doubt = worst(doubt, _STUCK)
    return lowered(reading, doubt), Trace(value, at, since)


def lowered(reading: Reading, doubt: Quality) -> Reading:
    """The reading with the worse of its own quality and `doubt`."""
    found = worst(reading.quality, doubt)
    if found is reading.quality:
        return reading
    return Reading(reading.point, reading.value, found)


class Checker:
    """Checks the samples of one device and remembers what `against_past` needs. Without limits it remembers nothing."""

    def __init__(self, points: Sequence[Point], limits: Mapping[str, Limits] | None = None) -> None:
        self._points = {point.name: point for point in points}
        self._limits = dict(limits or {})
        self._traces: dict[str, Trace] = {}

    def check(self, names: Iterable[str], values: Values, at: float) -> tuple[Reading, ...]:
        """Readings of the points in `names`; `at` is the monotonic time of the sample in seconds."""
        points = self._points
        readings = [of_value(points[name], values.get(name)) for name in names]
        if self._limits:
            readings = [self._followed(reading, at) for reading in readings]
        return tuple(readings)

    def _followed(self, reading: Reading, at: float) -> Reading:
        limits = self._limits.get(reading.point)
        if limits is None:
            return reading
        reading, trace = against_past(reading, limits, self._traces.get(reading.point), at)
        if trace is not None:
            self._traces[reading.point] = trace
        return reading
