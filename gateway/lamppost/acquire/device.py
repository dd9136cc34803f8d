"""One device as the pollers see it: its points, its health, its counters, and the samples that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lamppost.acquire.health import DEVICE, Health, State
from lamppost.acquire.report import NO_FAULT, Counts, DeviceStatus, Fault, instant, next_try
from lamppost.clock import Clock
from lamppost.config.schema import DeviceSettings
from lamppost.config.units import per_second
from lamppost.errors import LinkError
from lamppost.model import Instant, Quality, Reading, Sample
from lamppost.quality.checks import Checker, Limits, absent
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Driver, Point

SLOW_PACE = 10.0
"""Seconds between samples that only say that a dead device is still dead."""

_NO_RESPONSE = quality("no_response")


def points_of(settings: DeviceSettings, driver: Driver) -> tuple[Point, ...]:
    """The points of a device that are read: all of its model, or those the site names, in the model's order."""
    wanted = settings.points
    return tuple(point for point in driver.points if not wanted or point.name in wanted)


def _limits(settings: DeviceSettings, points: Iterable[Point]) -> Iterator[tuple[str, Limits]]:
    """What the site says of its points, in their units and seconds."""
    for point in points:
        if (check := settings.check.get(point.name)) is not None:
            step = None if check.max_step is None else per_second(check.max_step, point.unit)
            yield point.name, Limits(step, check.stuck_after)


class Device:
    """State of one device; used by one poller only."""

    def __init__(
        self,
        settings: DeviceSettings,
        driver: Driver,
        clock: Clock,
        deliver: Callable[[Sample], None],
    ) -> None:
        self.name = settings.name
        self.model = driver.model
        self.link = settings.link
        self.unit = settings.unit
        self.points = points_of(settings, driver)
        self.checker = Checker(self.points, dict(_limits(settings, self.points)))
        self.health = Health(DEVICE, clock.monotonic())
        self.reason: Quality = _NO_RESPONSE
        """What its readings are marked with while it is not asked."""
        self.polls = self.ok = self.timeouts = self.corrupt = self.refused = self.absent = 0
        self._by_name = {point.name: point for point in self.points}
        self._clock = clock
        self._deliver = deliver
        self._fault = NO_FAULT
        self._at: Instant | None = None
        self._latest: dict[str, Reading] = {}
        self._told: dict[Sequence[str], float] = {}

    # --- what happened

    def answered(self, now: float) -> bool:
        """It answered. Returns whether it had been missed before."""
        self._fault = NO_FAULT
        return self.health.answered(now)

    def missed(
        self,
        error: LinkError,
        reason: Quality,
        now: float,
        rest: float = 0.0,
        *,
        there: bool = False,
    ) -> None:
        """It did not answer, or nothing that can be understood; see `Health.missed`."""
        self._fault = Fault.of(error)
        self.reason = reason
        self.health.missed(now, rest, there=there)

    def complained(self, error: LinkError) -> None:
        """It answered, but not with what was asked for."""
        self._fault = Fault.of(error)

    # --- what is delivered

    def give(self, at: Instant, readings: Iterable[Reading]) -> None:
        """Deliver a sample taken at `at`."""
        sample = Sample(self.name, at, tuple(readings))
        self._at = at
        for reading in sample.readings:
            self._latest[reading.point] = reading
        self._deliver(sample)

    def give_absent(self, names: tuple[str, ...], reason: Quality, period: float) -> None:
        """Deliver that these points have no value now; at a slow pace while the device is long known to be dead."""
        now = self._clock.monotonic()
        pace = max(period, SLOW_PACE)
        if self.health.state is State.DEAD and now - self._told.get(names, -pace) < pace * 0.99:
            return
        self._told[names] = now
        self.absent += 1
        self.give(self._clock.now(), self.missing(names, reason))

    def missing(self, names: Iterable[str], reason: Quality) -> tuple[Reading, ...]:
        """Readings without a value."""
        return absent([self._by_name[name] for name in names], reason)

    # --- for people

    def status(self) -> DeviceStatus:
        """As it is now."""
        latest = self._latest
        return DeviceStatus(
            self.name,
            self.model,
            self.link,
            self.unit,
            self.health.state,
            instant(self._clock, self.health.since),
            next_try(self._clock, self.health),
            self._fault,
            Counts(self.polls, self.ok, self.timeouts, self.corrupt, self.refused, self.absent),
            self._at,
            tuple(latest[point.name] for point in self.points if point.name in latest),
        )
