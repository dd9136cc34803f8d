"""Serial ports: pyserial opens and configures them, asyncio waits for their bytes. The only importer of pyserial.

A port is ours alone: flock against programs that ask, TIOCEXCL against those that do not, and a lock file that names
us to both.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import serial

from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import counters, faults, holder
from lamppost.links.alarm import Alarm

_CHUNK = 4096
_ADAPTER = 40_000_000
_GAP_CHARACTERS = 33
"""What ends an answer of unknown length: EN 13757-2 allows 33 bit times between bytes, USB adapters more."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How characters look on the line."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    data_bits: Literal[7, 8] = 8

    @property
    def character(self) -> int:
        """Nanoseconds a character takes: start, data, parity and stop bits."""
        bits = 1 + self.data_bits + (self.parity != "N") + self.stop_bits
        return bits * 1_000_000_000 // self.baud


class SerialPort:
    """An open port. Made by `SerialPort.open` on the running event loop; one reader and one writer at a time.

    Times are nanoseconds of CLOCK_MONOTONIC (`clock.monotonic_ns`). Every method that touches the port raises
    LinkError `link.lost` once it is unplugged or hung up; then only `close` is of use.
    """

    def __init__(self, port: serial.Serial, path: Path, line: LineSettings, locks: Path) -> None:
        self.path = path
        self.line = line
        self.heard = 0
        """When bytes were read last: the last of them had come by then."""
        self._port = port
        self._unread = b""
        self._fd: int = port.fileno()
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm()
        self._poll = select.poll()
        self._poll.register(self._fd, 0)  # hang-ups are reported unasked
        self._lock_file = holder.name_ourselves(path, locks)

    @classmethod
    def open(cls, path: Path, line: LineSettings, *, locks: Path = holder.LOCKS) -> SerialPort:
        """Open `path` for us alone. Raises LinkError `link.missing`, `.busy`, `.permission` or `.settings`."""
        try:
            port = serial.Serial(
                str(path),
                baudrate=line.baud,
                bytesize=line.data_bits,
                parity=line.parity,
                stopbits=line.stop_bits,
                timeout=0,
                write_timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError, termios.error) as why:  # SerialException is an OSError
            raise _cannot_open(path, why, locks) from None
        with contextlib.suppress(OSError):
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            port.set_low_latency_mode(True)  # an FT232 then waits 1 ms instead of 16
        return cls(port, path, line, locks)

    def close(self) -> None:
        """Give the port back; what was not sent yet is dropped. Harmless if done before."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._alarm.close()
        with contextlib.suppress(OSError, termios.error):
            # Without the flush, close may wait half a minute for a device that is gone.
            termios.tcflush(self._fd, termios.TCOFLUSH)
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        self._fd = -1
        with contextlib.suppress(OSError, termios.error):
            self._port.close()
        holder.unname(self._lock_file)

    async def send(self, data: bytes) -> int:
        """Write all of `data`; returns when its last bit will have left the wire, if the line is ours."""
        start = monotonic_ns()
        left = data
        while left:
            try:
                left = left[os.write(self._descriptor(), left) :]
            except BlockingIOError:
                await self._writable()
            except OSError as why:
                raise faults.lost(str(self.path), why.strerror) from None
        return start + len(data) * self.line.character

    async def receive(self, deadline: int) -> bytes:
        """What has come in, as soon as there is something; empty once `deadline` has passed."""
        while not (data := self.drain()):
            left = deadline - monotonic_ns()
            if left <= 0:
                return b""
            await self._readable(left / 1e9)
        return data

    async def gather(self, deadline: int, gap: int, count: int = 0) -> bytes:
        """What comes from its first byte, by `deadline`, until `gap` nanoseconds of silence or `count` bytes."""
        data = await self.receive(deadline)
        while data and len(data) < (count or _CHUNK):
            more = await self.receive(monotonic_ns() + gap)
            if not more:
                break
            data += more
        return data

    def drain(self) -> bytes:
        """What has come in, without waiting."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        try:
            data = os.read(self._descriptor(), _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as why:
            raise faults.lost(str(self.path), why.strerror) from None
        self.heard = monotonic_ns()
        if not data and self._poll.poll(0):
            raise faults.lost(str(self.path))
        return data

    def counters(self) -> counters.Counters | None:
        """What the kernel counted: framing and parity errors, breaks; None where its driver does not."""
        return counters.read(self._descriptor())

    async def until(self, ns: int) -> None:
        """Wait until this moment and hardly longer, without listening."""
        await self._alarm.until(ns)

    def _descriptor(self) -> int:
        if self._fd < 0:
            raise faults.not_open(str(self.path))
        return self._fd

    async def _readable(self, seconds: float) -> None:
        """Return when there may be bytes, or after about so many seconds."""
        woken = self._loop.create_future()
        timer = self._loop.call_later(seconds, _wake, woken)
        self._loop.add_reader(self._fd, self._hear, woken)
        try:
            await woken
        finally:
            timer.cancel()
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)

    def _hear(self, woken: asyncio.Future[None]) -> None:
        """Read at once: a silence is counted from here, and the waiter's turn may be a while off."""
        with contextlib.suppress(LinkError):  # the waiter will see for itself
            self._unread = self.drain()
        _wake(woken)

    async def _writable(self) -> None:
        woken = self._loop.create_future()
        self._loop.add_writer(self._fd, _wake, woken)
        try:
            await woken
        finally:
            if self._fd >= 0:
                self._loop.remove_writer(self._fd)


class SerialLink:
    """A port with one device on it, opened late and reopened at will. Methods that need the port raise LinkError."""

    def __init__(self, path: Path, line: LineSettings, *, locks: Path = holder.LOCKS) -> None:
        self.where = str(path)
        self.stray = 0
        self._path = path
        self._line = self._configured = line
        self._locks = locks
        self._port: SerialPort | None = None

    async def open(self) -> None:
        """Open it; harmless if it is open. Raises LinkError `link.missing`, `.busy`, `.permission`, `.settings`."""
        if self._port is None:
            self._port = SerialPort.open(self._path, self._line, locks=self._locks)

    def close(self) -> None:
        """Close it; harmless if it is closed."""
        if self._port is not None:
            self._port.close()
            self._port = None

    async def send(self, data: bytes) -> None:
        """Write all of `data` and wait until it has left the wire. What had come in before is dropped."""
        port = self._opened()
        self.stray += len(port.drain())
        await port.until(await port.send(data))

    async def receive(self, seconds: float) -> bytes:
        """What has come in, as soon as there is something; empty after so many seconds without a byte."""
        return await self._opened().receive(monotonic_ns() + round(seconds * 1e9))

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send bytes as they are; what comes back until it is silent, or `count` bytes. Without a request: listen."""
        port = self._opened()
        if request:
            await self.send(request)
        gap = max(_ADAPTER, _GAP_CHARACTERS * self._line.character)
        return await port.gather(monotonic_ns() + round(seconds * 1e9), gap, count)

    def tune(self, line: LineSettings | None) -> None:
        """Close it, and open it with other settings from now on; with those of the site again without any."""
        self.close()
        self._line = line or self._configured

    @property
    def character(self) -> float:
        """Seconds a character takes."""
        return self._line.character / 1e9

    def _opened(self) -> SerialPort:
        if self._port is None:
            raise faults.not_open(self.where)
        return self._port


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _cannot_open(path: Path, why: Exception, locks: Path) -> LinkError:
    if isinstance(why, OSError) and why.errno is not None:
        number, text = why.errno, os.strerror(why.errno)
    elif isinstance(why, termios.error):
        number, text = why.args[0], os.strerror(why.args[0])
    else:  # pyserial says "could not configure port" without a number when there is no device behind the node
        missing = isinstance(why, OSError)
        number, text = (errno.ENXIO if missing else errno.EINVAL), str(why)
    busy = number in (errno.EBUSY, errno.EAGAIN)
    return faults.cannot_open(
        path, OSError(number, text), holder.holder_of(path, locks) if busy else ""
    )
