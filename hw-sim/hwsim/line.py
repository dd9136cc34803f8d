"""A serial segment behind a real terminal device: unchanged serial libraries open `path` and cannot tell.

The line's own thread paces every byte at the speed which the driver really set. What happens on the wire is in
`wire.Wire`, which knows no thread and no clock.
"""

from __future__ import annotations

import copy
import ctypes
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hwsim.device import Device
from hwsim.terminal import Terminal
from hwsim.wire import Stats, Wire

_PR_SET_TIMERSLACK = 29
_SPIN = 0.0001
"""Seconds before something is due from which on the line waits for it awake."""
_CLOSED_POLL = 0.01


class Line:
    """A paced serial segment, usable as a context manager.

    `Line("/run/sim/rs485-1", baud=9600, devices=[RtuUnit(1, ...)])`; every other keyword is one of `wire.Wire`:
    `bits`, `form`, `half_duplex`, `echo`, `bit_error_rate`, `granularity`, `silence` (seconds), `seed`.
    """

    def __init__(
        self,
        path: str | Path,
        baud: int | None = 9600,
        bits: int = 10,
        *,
        devices: Sequence[Device] = (),
        **how: Any,
    ) -> None:
        self.path = Path(path)
        self._wire = Wire(baud, bits, **how)
        self._first = tuple(devices)
        self._terminal: Terminal | None = None
        self._in_use = False
        self._changed = threading.Condition(threading.RLock())
        self._wake_out, self._wake_in = -1, -1
        self._thread: threading.Thread | None = None
        self._closing = False

    # --- life

    def start(self) -> Line:
        """Create the terminal and its symlink, and begin to serve."""
        now = time.monotonic()
        for device in self._first:
            self._wire.attach(device, now)
        self._wire.stats.since = now
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._terminal = Terminal(self.path)
        self._thread = threading.Thread(
            target=self._run, name=f"line {self.path.name}", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop and take the path away. Harmless if done before."""
        if self._thread is None:
            return
        self._closing = True
        self._wake()
        self._thread.join()
        self._thread = None
        self.unplug()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def __enter__(self) -> Line:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what a test may do to the line while it runs

    def attach(self, device: Device) -> None:
        """Connect a device to the running line."""
        with self._changed:
            self._wire.attach(device, time.monotonic())
        self._wake()

    def detach(self, device: Device) -> None:
        """Take a device off the line."""
        with self._changed:
            self._wire.devices.remove(device)

    def unplug(self) -> None:
        """Pull the adapter out: the path vanishes and an open port is hung up."""
        with self._changed:
            if self._terminal is not None:
                self._terminal.close()
                self._terminal = None
                self._wire.clear()
        self._wake()

    def plug(self) -> None:
        """Put the adapter back: the same path, another terminal behind it."""
        with self._changed:
            if self._terminal is None:
                self._terminal = Terminal(self.path)
        self._wake()

    def inject(self, data: bytes) -> None:
        """Bytes from nowhere on the wire, now; `b"\\0"` is how a break looks to a receiver."""
        with self._changed:
            self._wire.inject(data, time.monotonic())
        self._wake()

    def set_noise(self, bit_error_rate: float) -> None:
        """From now on each bit in either direction is flipped with this probability."""
        with self._changed:
            self._wire.bit_error_rate = bit_error_rate

    def change(self, **how: Any) -> None:
        """From now on the line has another `baud`, `form`, `echo` or `bit_error_rate`. Raises ValueError."""
        for name in how:
            if name not in ("baud", "form", "echo", "bit_error_rate"):
                raise ValueError(f"no {name!r} to change: baud, form, echo, bit_error_rate")
        with self._changed:
            for name, value in how.items():
                setattr(self._wire, name, value)

    # --- what the line saw

    @property
    def devices(self) -> tuple[Device, ...]:
        """What hangs on the line."""
        return tuple(self._wire.devices) if self._thread else self._first

    @property
    def byte_time(self) -> float:
        """Seconds a character takes."""
        return self._wire.byte_time

    @property
    def form(self) -> str | None:
        """Such as 8E1, where the line insists on one."""
        return self._wire.form

    @property
    def silence(self) -> float:
        """Seconds of silence that end a frame (t3.5)."""
        return self._wire.silence

    def opened(self) -> bool:
        """Whether a driver holds the port open."""
        with self._changed:
            return self._terminal is not None and self._terminal.opened()

    def stats(self) -> Stats:
        """A copy of the counters."""
        with self._changed:
            return copy.deepcopy(self._wire.stats)

    def reset_stats(self) -> None:
        """Count from zero again."""
        with self._changed:
            self._wire.stats = Stats(since=time.monotonic())

    def use(self) -> float:
        """Share of the time since the counters began in which the line was taken (bytes, silences, turnarounds).

        1.0 is what a driver reaches that keeps every silence and wastes no time of its own.
        """
        with self._changed:
            stats = self._wire.stats
            return stats.occupied / max(time.monotonic() - stats.since, 1e-9)

    def wait(self, until: Callable[[Stats], bool], timeout: float = 5.0) -> bool:
        """Block until the counters satisfy `until`; False if that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self._wire.stats), timeout)

    # --- the thread

    def _wake(self) -> None:
        if self._wake_in >= 0 and self._thread is not None:
            try:
                os.write(self._wake_in, b"!")
            except BlockingIOError:
                return  # a full pipe wakes as well

    def _run(self) -> None:
        # The kernel rounds sleeps up by 50 us unless a thread asks for better.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        while not self._closing:
            with self._changed:
                watched, deadline = self._step()
                self._changed.notify_all()
            self._sleep(watched, deadline)

    def _step(self) -> tuple[list[int], float | None]:
        """Move bytes both ways; returns what to watch, and until when."""
        terminal, now = self._terminal, time.monotonic()
        if terminal is None:
            self._wire.step(now, None)
            return [self._wake_out], self._wire.deadline()
        said, heard = terminal.read(), time.monotonic()
        opened = terminal.opened()
        speed, self._wire.driver_form = terminal.settings()
        if said:
            # The moment after reading: a gap may be measured too long, never too short.
            self._wire.driver_wrote(said, heard, speed)
        self._spin()
        if arrived := self._wire.step(time.monotonic(), speed if opened else None):
            self._wire.stats.lost += len(arrived) - terminal.write(arrived)
        if self._in_use and not opened:
            terminal.free()
        self._in_use = opened
        deadline = self._wire.deadline()
        if opened:
            return [self._wake_out, terminal.fd], deadline
        # A closed port is always "readable": look again after a moment instead.
        look = now + _CLOSED_POLL
        return [self._wake_out], look if deadline is None else min(deadline, look)

    def _sleep(self, watched: list[int], deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic() - _SPIN
        if left is None or left > 0:
            try:
                ready = select.select(watched, [], [], left)[0]
            except (OSError, ValueError):
                return  # unplugged meanwhile
            if ready:
                self._drain(ready)
                return

    def _spin(self) -> None:
        """Wait for what is due in a moment here, where nothing else stands between that moment and its bytes."""
        due = self._wire.deadline()
        if due is not None and due - time.monotonic() < _SPIN:
            while time.monotonic() < due:
                pass

    def _drain(self, ready: list[int]) -> None:
        if self._wake_out in ready:
            try:
                os.read(self._wake_out, 4096)
            except BlockingIOError:
                return
