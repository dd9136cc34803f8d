"""Waits on the event loop that end at their time and hardly later, for the silences of a wire.

epoll's own timeout counts whole milliseconds, as long as half of a t3.5 silence: a timerfd (Linux) does not. From its
bell until the waiter runs there is still a tenth of a millisecond or more. So the bell is set as much earlier as that
was seen to take at least, and the few microseconds that may then be left are waited for awake.
"""

from __future__ import annotations

import asyncio
import ctypes
import os

from lamppost.clock import monotonic_ns

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_NS = 1_000_000_000
_EARLIEST = 200_000
"""Nanoseconds that we set the bell earlier at most: how long the loop may stand still for it."""
_FORGET = 64
"""A delay is forgotten by so much of the difference at each wait: a slow moment says little, a quick one all."""


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
        self._bell = 0
        self._early = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._rang)

    async def until(self, ns: int) -> None:
        """Return once CLOCK_MONOTONIC has reached `ns` (nanoseconds), never before; at once if it has."""
        bell = ns - self._early
        if monotonic_ns() < bell:
            await self._ring_at(bell)
            self._learn(monotonic_ns() - bell)
        while monotonic_ns() < ns:
            pass

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    async def _ring_at(self, bell: int) -> None:
        self._bell = bell
        self._spec.value_s, self._spec.value_ns = divmod(bell, _NS)
        waiter = self._waiter = self._loop.create_future()
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._by_spec, None)
        try:
            await waiter
        finally:
            self._waiter = None

    def _learn(self, delay: int) -> None:
        """A waiter ran so many nanoseconds after its bell."""
        quicker = delay < self._early
        step = delay - self._early if quicker else (delay - self._early) // _FORGET
        self._early = min(self._early + step, _EARLIEST)

    def _rang(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        # A bell of a wait that was cancelled may still come: only the time counts.
        if self._waiter is not None and not self._waiter.done() and monotonic_ns() >= self._bell:
            self._waiter.set_result(None)
