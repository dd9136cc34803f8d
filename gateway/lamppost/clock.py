"""The only caller of `time`: UTC, boot time, monotonic deadlines and the state of synchronisation.

Schedules run on the monotonic clock and never notice a step of UTC; samples are stamped with the boot clock.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from pathlib import Path
from typing import Protocol

from lamppost.model import Instant

_TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised
_STA_UNSYNC = 0x0040
_TIMESYNCD_FLAG = Path("/run/systemd/timesync/synchronized")
_TIMESYNCD_FRESH = (
    3 * 2048 * 10**9
)  # it touches its file at each answer, at most 2048 s apart, and never removes it


class Clock(Protocol):
    """What the gateway asks of time. The tests' virtual clock implements the same."""

    def utc(self) -> int:
        """UTC in nanoseconds since 1970; may step, may be wrong."""
        ...

    def now(self) -> Instant:
        """The boot's id and CLOCK_BOOTTIME in nanoseconds; never steps, counts through suspend."""
        ...

    def monotonic(self) -> float:
        """Seconds for deadlines, the event loop's own time."""
        ...

    def synced(self) -> bool:
        """Whether something disciplines UTC (NTP, GNSS, PTP)."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until `monotonic()` reaches `deadline`; returns at once if it has passed."""
        ...


class SystemClock:
    """The machine's own clocks (Linux)."""

    def __init__(self) -> None:
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._libc = ctypes.CDLL(None, use_errno=True)

    def utc(self) -> int:
        """UTC in nanoseconds since 1970."""
        return time.time_ns()

    def now(self) -> Instant:
        """CLOCK_BOOTTIME of this boot."""
        return Instant(self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC in seconds, which asyncio's loops use too."""
        return time.monotonic()

    def synced(self) -> bool:
        """Kernel state by adjtimex(2), or a fresh flag file of systemd-timesyncd.

        The kernel's state is kept by timesyncd, ntpd, ptp4l, and chrony with `rtcsync` (Debian's default).
        """
        timex = (ctypes.c_long * 64)()  # modes = 0: read only; status is the long at index 5
        state = self._libc.adjtimex(ctypes.byref(timex))
        kernel = state not in (-1, _TIME_ERROR) and not timex[5] & _STA_UNSYNC
        return kernel or flag_is_fresh(_TIMESYNCD_FLAG, self.utc())

    async def sleep_until(self, deadline: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))


def flag_is_fresh(flag: Path, utc: int) -> bool:
    """Whether timesyncd's file was touched shortly before `utc`. One that stands ahead says nothing."""
    try:
        age = utc - flag.stat().st_mtime_ns
    except OSError:
        return False
    return -(10**9) <= age <= _TIMESYNCD_FRESH


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds, for the pacing of a wire (t3.5), where a Clock would be too far away."""
    return time.monotonic_ns()
