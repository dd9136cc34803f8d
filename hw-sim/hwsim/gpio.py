"""A GPIO chip as unchanged lgpio, rpi-lgpio and libgpiod see it under the preload shim (uAPI version 2).

`GpioChip(folder, 0)` is `/dev/gpiochip0` for programs started with `preload.environment(folder)`. The outside world
drives lines with `set`, `pulse` and `pulses`; edges are delivered with their moment, debounced where asked for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
import sys
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from hwsim.seqpacket import ASK_RELEASE, Ask, PacketServer, Told

_ACTIVE_LOW, _OUTPUT, _RISING, _FALLING = 1 << 1, 1 << 3, 1 << 4, 1 << 5
_FLAGS, _VALUES, _DEBOUNCE = 1, 2, 3
_CHIP_INFO, _LINE_INFO, _WATCH, _REQUEST, _UNWATCH = 0x01, 0x05, 0x06, 0x07, 0x0C
_CONFIGURE, _GET, _SET = 0x0D, 0x0E, 0x0F
_CONFIG_AT, _CONFIG_SIZE = 288, 272


@dataclass
class _Request:
    """Lines that one client holds."""

    lines: tuple[int, ...]
    consumer: bytes
    connection: int
    events: socket.socket
    flags: dict[int, int] = field(default_factory=dict)
    debounce: dict[int, float] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    """The last level reported of a line; differs from the wire while debouncing."""
    count: int = 0
    line_count: dict[int, int] = field(default_factory=dict)
    lost: int = 0


def _outstanding(events: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(events, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class GpioChip:
    """A chip with `lines` inputs that stand at 1 (pulled up); also a context manager."""

    def __init__(
        self, folder: Path, number: int = 0, *, lines: int = 58, label: str = "pinctrl-bcm2711"
    ) -> None:
        self._name = f"gpiochip{number}".encode()
        self._label = label.encode()
        self._levels = [1] * lines
        self._driven: set[int] = set()
        self._requests: dict[int, _Request] = {}
        self._count = 0
        self._lock = threading.RLock()
        self._timers: dict[tuple[int, int], threading.Timer] = {}
        self._since: dict[tuple[int, int], int] = {}
        """Since when a line that is debounced stands as it does."""
        self._server = PacketServer(folder / f"gpiochip{number}", self._answer, self._gone)

    def close(self) -> None:
        """The device node disappears, and every requested line with it."""
        self._server.close()
        with self._lock:
            timers = list(self._timers.values())
            self._timers.clear()
            for request in self._requests.values():
                request.events.close()
            self._requests.clear()
        for timer in timers:
            timer.cancel()
            timer.join()

    def __enter__(self) -> GpioChip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the world outside

    def level(self, line: int) -> int:
        """The level on the wire, whoever drives it."""
        return self._levels[line]

    def lost(self) -> int:
        """Edges that no client fetched in time, as when the kernel's buffer overflows."""
        return sum(request.lost for request in self._requests.values())

    def watched(self, line: int) -> bool:
        """Whether a client waits for edges of this line."""
        with self._lock:
            return any(r.flags.get(line, 0) & (_RISING | _FALLING) for r in self._requests.values())

    def unread(self) -> int:
        """Bytes of edges that clients have not fetched yet, at most of any request."""
        with self._lock:
            return max((_outstanding(r.events) for r in self._requests.values()), default=0)

    def set(self, line: int, level: int, at: int | None = None) -> None:
        """The world pulls a line to a level, now.

        `at`: when the kernel saw it, in nanoseconds of CLOCK_MONOTONIC: edges of the past, told all at once.
        """
        with self._lock:
            if self._levels[line] == level:
                return
            self._levels[line] = level
            now = time.monotonic_ns() if at is None else at
            for number, request in self._requests.items():
                if line in request.lines:
                    self._changed(number, request, line, now)

    def pulse(self, line: int, low: float, *, bounce: int = 0, bounce_time: float = 0.0003) -> None:
        """One closing contact: down for `low` seconds, up again; the contact bounces `bounce` times at both edges."""
        for level in (0, 1):
            for _ in range(bounce):
                self.set(line, level)
                time.sleep(bounce_time)
                self.set(line, 1 - level)
                time.sleep(bounce_time)
            self.set(line, level)
            if level == 0:
                time.sleep(low)

    def pulses(self, line: int, count: int, low: float, high: float, *, bounce: int = 0) -> None:
        """A train of pulses; blocks until it is over."""
        for _ in range(count):
            self.pulse(line, low, bounce=bounce)
            time.sleep(high)

    # --- edges

    def _changed(self, number: int, request: _Request, line: int, now: int) -> None:
        wait = request.debounce.get(line, 0.0)
        if wait == 0:
            self._report(request, line, now, self._levels[line])
            return
        if (number, line) not in self._timers:
            self._wait(number, line, wait)
        elif now - self._since[number, line] >= wait * 1e9:
            # It stood long enough, and only our timer came too late to say so.
            self._report(request, line, now, 1 - self._levels[line])
        self._since[number, line] = now

    def _wait(self, number: int, line: int, seconds: float) -> None:
        timer = threading.Timer(seconds, self._settled, (number, line))
        timer.daemon = True
        self._timers[number, line] = timer
        timer.start()

    def _settled(self, number: int, line: int) -> None:
        with self._lock:
            if self._timers.pop((number, line), None) is None:
                return
            request, now = self._requests.get(number), time.monotonic_ns()
            if request is None:
                return
            left = request.debounce.get(line, 0.0) - (now - self._since[number, line]) / 1e9
            if left > 0:
                self._wait(number, line, left)
            else:
                self._report(request, line, now, self._levels[line])

    def _report(self, request: _Request, line: int, now: int, level: int) -> None:
        if request.seen.get(line) == level:
            return
        request.seen[line] = level
        flags = request.flags.get(line, 0)
        active = level ^ bool(flags & _ACTIVE_LOW)
        if not flags & (_RISING if active else _FALLING):
            return
        request.count += 1
        request.line_count[line] = request.line_count.get(line, 0) + 1
        event = (now, 1 if active else 2, line, request.count, request.line_count[line])
        try:
            request.events.send(struct.pack("=QIIII24x", *event), socket.MSG_DONTWAIT)
        except OSError:
            request.lost += 1

    # --- what a client asks

    def _gone(self, connection: int) -> None:
        with self._lock:
            for number in [n for n, r in self._requests.items() if r.connection == connection]:
                self._release(number)

    def _release(self, number: int) -> None:
        request = self._requests.pop(number, None)
        if request is not None:
            request.events.close()
            self._driven.difference_update(request.lines)

    def _answer(self, ask: Ask, connection: int) -> Told:
        with self._lock, contextlib.suppress(struct.error):
            if ask.kind == ASK_RELEASE:
                self._release(ask.lines)
                return Told(0)
            match ask.code:
                case 0x01:
                    told = struct.pack("=32s32sI", self._name, self._label, len(self._levels))
                    return Told(0, told)
                case 0x05 | 0x06:
                    return self._line_info(ask.body)
                case 0x07:
                    return self._request(ask.body, connection)
                case 0x0C:
                    return Told(0, ask.body)
            request = self._requests.get(ask.lines)
            if request is None:
                return Told(-errno.EBADF)
            match ask.code:
                case 0x0D:
                    self._configure(request, ask.body)
                    return Told(0, ask.body)
                case 0x0E:
                    return self._get(request, ask.body)
                case 0x0F:
                    return self._put(request, ask.body)
        return Told(-errno.ENOTTY)

    def _line_info(self, body: bytes) -> Told:
        (line,) = struct.unpack_from("=I", body, 64)
        if line >= len(self._levels):
            return Told(-errno.EINVAL)
        holder = next((r for r in self._requests.values() if line in r.lines), None)
        flags = (holder.flags.get(line, 0) | 1) if holder else 1 << 2
        consumer = holder.consumer if holder else b""
        told = struct.pack("=32s32sIIQ", f"GPIO{line}".encode(), consumer, line, 0, flags)
        return Told(0, told.ljust(256, b"\0"))

    def _request(self, body: bytes, connection: int) -> Told:
        (count,) = struct.unpack_from("=I", body, 560)
        lines = struct.unpack_from(f"={count}I", body, 0)
        if any(line >= len(self._levels) for line in lines):
            return Told(-errno.EINVAL)
        if any(line in held.lines for held in self._requests.values() for line in lines):
            return Told(-errno.EBUSY)
        ours, theirs = socket.socketpair()
        consumer = body[256:288].rstrip(b"\0")
        request = _Request(lines, consumer, connection, ours)
        self._configure(request, body[_CONFIG_AT : _CONFIG_AT + _CONFIG_SIZE])
        self._count += 1
        self._requests[self._count] = request
        return Told(self._count, body, theirs)

    def _configure(self, request: _Request, config: bytes) -> None:
        flags, count = struct.unpack_from("=QI", config, 0)
        request.flags = dict.fromkeys(request.lines, flags)
        request.debounce = {}
        outputs: dict[int, int] = {}
        for at in range(count):
            kind, _, value, mask = struct.unpack_from("=IIQQ", config, 32 + 24 * at)
            for index, line in enumerate(request.lines):
                if not mask >> index & 1:
                    continue
                if kind == _FLAGS:
                    request.flags[line] = value
                elif kind == _VALUES:
                    outputs[line] = value >> index & 1
                elif kind == _DEBOUNCE:
                    request.debounce[line] = (value & 0xFFFFFFFF) / 1e6
        for line in request.lines:
            request.seen[line] = self._levels[line]
            if request.flags[line] & _OUTPUT:
                self._driven.add(line)
                self._levels[line] = outputs.get(line, 0) ^ bool(request.flags[line] & _ACTIVE_LOW)

    def _get(self, request: _Request, body: bytes) -> Told:
        _, mask = struct.unpack("=QQ", body)
        bits = 0
        for index, line in enumerate(request.lines):
            if mask >> index & 1:
                bits |= (self._levels[line] ^ bool(request.flags[line] & _ACTIVE_LOW)) << index
        return Told(0, struct.pack("=QQ", bits, mask))

    def _put(self, request: _Request, body: bytes) -> Told:
        bits, mask = struct.unpack("=QQ", body)
        for index, line in enumerate(request.lines):
            if mask >> index & 1:
                if line not in self._driven:
                    return Told(-errno.EPERM)
                self._levels[line] = (bits >> index & 1) ^ bool(request.flags[line] & _ACTIVE_LOW)
        return Told(0, body)
