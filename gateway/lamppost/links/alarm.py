"""Waits on the event loop that end within about 0.1 ms of their time, for the silences of a wire.

epoll's own timeout counts whole milliseconds, as long as half of a t3.5 silence: a timerfd (Linux) does not.
"""

from __future__ import annotations

import asyncio
import ctypes
import os

from lamppost.clock import monotonic_ns

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NS = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """One alarm clock; one waiter at a time. Belongs to the event loop that is running when it is made."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        flags = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC have these values
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._by_spec = ctypes.byref(self._spec)
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._rang)

    async def until(self, ns: int) -> None:
        """Return once CLOCK_MONOTONIC has reached `ns` (nanoseconds); at once if it has."""
        if monotonic_ns() >= ns:
            return
        self._spec.value_s, self._spec.value_ns = divmod(ns, _NS)
        waiter = self._waiter = self._loop.create_future()
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._by_spec, None)
        try:
            await waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _rang(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        # A bell of a wait that was cancelled may still come: only the time counts.
        ns = self._spec.value_s * _NS + self._spec.value_ns
        if self._waiter is not None and not self._waiter.done() and monotonic_ns() >= ns:
            self._waiter.set_result(None)
