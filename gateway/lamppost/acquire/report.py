"""What the acquisition is doing and since when: frozen values for the status page and the technician."""

from __future__ import annotations

from dataclasses import dataclass

from lamppost.acquire.health import Health, State
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.model import Instant, Reading


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something fails, in the words of LinkError; all empty while nothing does."""

    code: str = ""
    why: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: LinkError) -> Fault:
        """From an error."""
        return cls(error.code, str(error), error.hint)


NO_FAULT = Fault()


@dataclass(frozen=True, slots=True)
class Counts:
    """How often a device was asked, and how that ended. `absent`: samples that only said that it is silent."""

    polls: int
    ok: int
    timeouts: int
    corrupt: int
    refused: int
    absent: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device. `readings` are the newest of every point, taken at `at` or before; `next_try` while it rests."""

    name: str
    model: str
    link: str
    unit: int | None
    state: State
    since: Instant
    next_try: Instant | None
    fault: Fault
    counts: Counts
    at: Instant | None
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class BusStatus:
    """One link with its devices. `skipped`: beats that came too late to be read; `behind`: some in the last minute.

    `stray`: bytes (TCP: frames) nobody had asked for. `opened`: how often the link was opened.
    """

    name: str
    kind: str
    where: str
    state: State
    since: Instant
    next_try: Instant | None
    fault: Fault
    leased: bool
    behind: bool
    skipped: int
    stray: int
    opened: int
    devices: tuple[DeviceStatus, ...]


def instant(clock: Clock, monotonic: float) -> Instant:
    """A moment of the monotonic clock as a moment of the boot."""
    now = clock.now()
    return Instant(now.boot, now.ns + round((monotonic - clock.monotonic()) * 1e9))


def next_try(clock: Clock, health: Health) -> Instant | None:
    """When something that rests is tried again, or None where it does not rest."""
    return instant(clock, health.next_try) if health.resting(clock.monotonic()) else None
