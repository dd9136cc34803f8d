"""I2C buses of the kernel's i2c-dev through smbus2, in a thread. The only importer of smbus2.

The kernel says with different numbers on different adapters that nobody acknowledged (121 on a Raspberry Pi, 6 or 19
elsewhere), so a transfer that fails at once is a missing acknowledgement unless the device node is gone.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lamppost.errors import LinkError
from lamppost.links import faults

Result = TypeVar("Result")

_STUCK = (errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY)
"""A transfer that did not end, an arbitration that was lost, a bus that never became idle."""


class I2cLink:
    """One bus. Transfers block for as long as the kernel lets them (a second, on a stuck bus): a thread does them."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.stray = 0
        self._path = path
        self._bus: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.name)

    async def open(self) -> None:
        """Open it; harmless if it is open.

        Raises LinkError `link.missing`, `.busy`, `.permission`, `.settings` or `.not-installed`.
        """
        if self._bus is None:
            self._bus = await self._in_thread(self._open)

    def close(self) -> None:
        """Close it, once a transfer under way has ended; harmless if it is closed."""
        bus, self._bus = self._bus, None
        if bus is not None:
            self._thread.submit(bus.close)

    async def write(self, address: int, data: bytes) -> None:
        """Write to the device at a 7-bit address. Raises LinkError `link.no-answer`, `.stuck` or `.lost`."""
        await self._in_thread(lambda: self._transfer(address, data, 0))

    async def read(self, address: int, count: int) -> bytes:
        """Read so many bytes. Raises LinkError `link.no-answer`, `.stuck` or `.lost`."""
        return await self._in_thread(lambda: self._transfer(address, b"", count))

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """The first byte of `request` is the 7-bit address: write the rest to it, then read `count` bytes.

        The kernel bounds the time. Raises LinkError as `write` does.
        """
        del seconds
        address, data = request[0], request[1:]
        if data or not count:
            await self.write(address, data)
        return await self.read(address, count) if count else b""

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the thread

    def _open(self) -> Any:
        try:
            import smbus2
        except ImportError:
            raise faults.not_installed(self.where, "i2c") from None
        try:
            bus: Any = smbus2.SMBus(self.where)
        except OSError as why:
            raise faults.cannot_open(self._path, why) from None
        try:
            fcntl.flock(bus.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            bus.close()
            raise faults.cannot_open(self._path, why) from None
        return bus

    def _transfer(self, address: int, data: bytes, count: int) -> bytes:
        from smbus2 import i2c_msg

        bus = self._bus
        if bus is None:
            raise faults.not_open(self.where)
        message = i2c_msg.read(address, count) if count else i2c_msg.write(address, data)
        try:
            bus.i2c_rdwr(message)
        except OSError as why:
            raise self._failed(address, why) from None
        return bytes(message) if count else b""

    def _failed(self, address: int, why: OSError) -> LinkError:
        if why.errno in _STUCK:
            return faults.stuck(self.where, address)
        # An adapter that was pulled out leaves a descriptor that fails just so: a new one tells.
        self._bus.close()
        try:
            self._bus = self._open()
        except LinkError as gone:
            self._bus = None
            return faults.lost(self.where, gone)
        return faults.not_acknowledged(self.where, address)
