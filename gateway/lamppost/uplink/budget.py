"""The bytes that a site may send in a calendar month (UTC), and what gives way when they run short.

Counted are messages in both directions and what MQTT, TLS, TCP and IP add to them, by the sizes of their headers and on
the high side. A twentieth of the month is kept for alerts. Against an even pace over the month, and one
day's share of slack:

- *full*: within the slack
- *longer-windows*: past it. Windows of readings become at least `LONG_WINDOW` long, which needs few bytes
- *alerts-only*: three days' shares ahead, or the readings' part is used up. Readings wait in the ring

Alerts always go. What waits is not lost: it goes out as soon as the month allows, or as coarse windows when the ring
has no more room. The month turns only by a synchronised clock, so a wrong clock cannot begin a new one.
"""

from __future__ import annotations

import calendar
import enum
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from lamppost.clock import Clock
from lamppost.files import durable_write

log = logging.getLogger(__name__)

LONG_WINDOW = 900.0  # seconds
MESSAGE_COST = (
    180  # bytes: PUBLISH and PUBACK, their TLS records, two TCP/IP headers and acknowledgements
)
SEGMENT_COST = (
    0.06  # of a message: a header for each 1,448 bytes, an acknowledgement for each two of them
)
CONNECT_COST = 8_000  # TCP, TLS 1.3 with client certificates, CONNECT, SUBSCRIBE
PING_COST = 300  # both ways
READINGS_SHARE = 0.95
SLACK_DAYS, HARD_DAYS = 1.0, 3.0
SAVE_LEAST, SAVE_MOST = 64 * 1024, 16 * 1024**2
"""Bytes between two writes of the file. What is written is rounded up by so much: a crash never forgets spending."""


class Thrift(enum.StrEnum):
    """What gives way at present."""

    FULL = "full"
    LONGER_WINDOWS = "longer-windows"
    ALERTS_ONLY = "alerts-only"


class Budget:
    """The month's account in a small durable file. `monthly` None: nothing is limited, but it is still counted."""

    def __init__(self, path: Path, monthly: int | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self.monthly = monthly
        self._step = SAVE_MOST if monthly is None else max(SAVE_LEAST, monthly // 512)
        self._month, self.spent = _load(path)
        self._saved = self.spent
        self._level = Thrift.FULL
        self._idle = 0.0
        self._turn()

    def message(self, size: int) -> None:
        """A message of so many bytes went over the line, in whichever direction."""
        self._spend(size + MESSAGE_COST + round(size * SEGMENT_COST))

    def connected(self) -> None:
        """A connection was opened."""
        self._spend(CONNECT_COST)

    def pings(self, count: float) -> None:
        """The line was kept alive so many times."""
        self._idle += count * PING_COST
        if self._idle >= PING_COST:
            self._spend(int(self._idle))
            self._idle -= int(self._idle)

    def _spend(self, size: int) -> None:
        self.spent += size
        if self.spent > self._saved:
            self._saved = (self.spent // self._step + 1) * self._step
            self._save()

    def level(self) -> Thrift:
        """What gives way now."""
        self._turn()
        if self.monthly is None:
            return Thrift.FULL
        elapsed, days = self._elapsed()
        for_readings = self.monthly * READINGS_SHARE
        ahead = self.spent - for_readings * elapsed
        share = for_readings / days
        hard = HARD_DAYS * share
        if self._level is Thrift.ALERTS_ONLY:
            hard = (HARD_DAYS + SLACK_DAYS) / 2 * share  # not to and fro with every batch
        if self.spent >= for_readings or ahead > hard:
            found = Thrift.ALERTS_ONLY
        else:
            found = Thrift.LONGER_WINDOWS if ahead > SLACK_DAYS * share else Thrift.FULL
        if found is not self._level:
            log.warning("uplink: %d bytes spent this month: %s", self.spent, found)
        self._level = found
        return found

    def _turn(self) -> None:
        """Begin a new month, when a clock that is believed says so."""
        if not self._clock.synced():
            return
        month = f"{self._now():%Y-%m}"
        if month > self._month:
            if self._month:
                self.spent = 0
            self._month, self._saved = month, self.spent
            self._save()

    def _elapsed(self) -> tuple[float, int]:
        """The part of the month that has passed, and its number of days. By a clock that is not believed, none has."""
        now = self._now()
        days = calendar.monthrange(now.year, now.month)[1]
        if f"{now:%Y-%m}" != self._month:
            return 0.0, days
        begin = datetime(now.year, now.month, 1, tzinfo=UTC)
        return (now - begin).total_seconds() / (86400 * days), days

    def _now(self) -> datetime:
        seconds = min(max(self._clock.utc() // 10**9, 0), 253_370_764_800)  # the year 9999
        return datetime.fromtimestamp(seconds, UTC)

    def _save(self) -> None:
        content = json.dumps({"month": self._month, "spent": self._saved}).encode()
        try:
            durable_write(self._path, content)
        except OSError as failed:
            log.error("%s cannot be written: %s", self._path, failed)


class Uncounted:
    """No account at all, for a line that costs nothing."""

    monthly: int | None = None
    spent = 0

    def message(self, size: int) -> None:
        """Costs nothing."""

    def connected(self) -> None:
        """Costs nothing."""

    def pings(self, count: float) -> None:
        """Costs nothing."""

    def level(self) -> Thrift:
        """Nothing gives way."""
        return Thrift.FULL


def _load(path: Path) -> tuple[str, int]:
    """Month and bytes. A damaged file forgets the month's spending; it keeps nobody from sending."""
    try:
        found = json.loads(path.read_bytes())
        month = datetime.strptime(found["month"], "%Y-%m") if found["month"] else None
        return (f"{month:%Y-%m}" if month else ""), max(0, int(found["spent"]))
    except (OSError, ValueError, TypeError, KeyError):
        return "", 0
