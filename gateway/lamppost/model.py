"""The words of the pipeline as values: frozen, slotted, without I/O and without a clock.

What there is one of for every reading is a msgspec Struct, which is made in a tenth of a frozen dataclass's time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

Scalar: TypeAlias = float | int | bool | str


class Severity(enum.IntEnum):
    """OPC UA's three severities; worse is greater."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class TimeQuality(enum.StrEnum):
    """How far a UTC time may be trusted."""

    SYNCED = "synced"
    HOLDOVER = "holdover"
    UNSYNCED = "unsynced"


@dataclass(frozen=True, slots=True)
class Quality:
    """A severity and one reason; the reasons and their OPC UA codes are in `quality.codes`."""

    severity: Severity
    reason: str


GOOD = Quality(Severity.GOOD, "good")


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment of one boot: CLOCK_BOOTTIME in nanoseconds, and the boot's id as Linux gives it (a UUID).

    It has no UTC of its own; `timeline.Timeline` gives it one once the clock of that boot is known.
    """

    boot: str
    ns: int


class Reading(Struct, frozen=True):
    """One point's value and quality. A bad reading keeps its value if it had one: the evidence stays."""

    point: str
    value: Scalar | None
    quality: Quality = GOOD


@dataclass(frozen=True, slots=True)
class Sample:
    """All readings of a device at one instant."""

    device: str
    at: Instant
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A contiguous range of reading numbers, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many readings the range holds."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Gap:
    """A recorded absence: readings that were numbered and are no more, and why."""

    span: Span
    why: str


class Window(Struct, frozen=True):
    """A closed event-time interval of one point.

    `start` and `end` bound the interval in UTC nanoseconds, `observed` is the time of its newest sample.
    Gauges have mean, low, high; counters have `delta` (what was counted in the interval). `last` is the newest
    value. `good + uncertain + bad` is the number of readings the window stands for; values come from good and
    uncertain ones only, and are None where there was none.
    """

    device: str
    point: str
    start: int
    end: int
    observed: int
    time_quality: TimeQuality
    quality: Quality
    good: int
    uncertain: int
    bad: int
    last: Scalar | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    delta: float | None = None

    @property
    def count(self) -> int:
        """How many readings the window stands for, whatever their quality."""
        return self.good + self.uncertain + self.bad


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous range of reading numbers, sealed together.

    `message` is what goes on the wire, `digest` the SHA-256 and `leaf` the RFC 9162 leaf hash of the signed message
    inside it. `seq` counts batches within `epoch`; `state` is what the next batch needs to know of this one
    (opaque bytes of the outbound stage).
    """

    epoch: str
    seq: int
    span: Span
    digest: bytes
    leaf: bytes
    message: bytes
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The hub's signed statement, already verified, that it stores batch `seq` of `epoch`."""

    epoch: str
    seq: int
    log_size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule of the site was broken (`raised`), or no longer is.

    `since` is when it was raised, `at` when this was said. `value` is the newest number that decided, in the point's
    own unit; `unsent` counts raises held back since the last alert of this rule; `why` says what else than a reading
    ended it.
    """

    rule: str
    device: str
    point: str
    at: Instant
    since: Instant
    raised: bool
    severity: str
    category: str
    text: str = ""
    value: float | None = None
    unsent: int = 0
    why: str = ""
