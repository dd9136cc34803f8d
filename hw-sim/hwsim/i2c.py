"""An I2C bus as unchanged smbus2 and i2c-tools see it under the preload shim, with the faults of real ones.

`I2cBus(folder, 1)` is `/dev/i2c-1` for programs started with `preload.environment(folder)`.
"""

from __future__ import annotations

import errno
import struct
import time
from collections import deque
from pathlib import Path
from typing import Protocol

from hwsim.seqpacket import Ask, PacketServer, Told

_READS = 1
_MESSAGE = struct.Struct("=HHH")


class Nack(Exception):
    """The device does not acknowledge: it is busy, or does not know the command."""


class I2cDevice(Protocol):
    """A device at an address: one call for each message of a transfer."""

    def write(self, data: bytes, now: float) -> None:
        """Take what the master writes; raises Nack."""

    def read(self, count: int, now: float) -> bytes:
        """Up to `count` bytes for the master (the rest is FF: nobody drives the bus); raises Nack."""


class I2cBus:
    """A bus with devices by address; also a context manager.

    `nack`: the errno of a missing acknowledgement, 121 on a Raspberry Pi, others elsewhere. `stuck`: somebody holds
    SDA down, every transfer times out. `clock`: Hz; each byte then takes its nine bits of time. `log`: moment,
    address, "r" or "w", bytes.
    """

    def __init__(
        self, folder: Path, number: int = 1, *, nack: int = errno.EREMOTEIO, clock: int = 0
    ) -> None:
        self.devices: dict[int, I2cDevice] = {}
        self.nack = nack
        self.stuck = False
        self.clock = clock
        self.log: deque[tuple[float, int, str, bytes]] = deque(maxlen=10_000)
        self._server = PacketServer(folder / f"i2c-{number}", self._answer)

    def close(self) -> None:
        """The device node disappears."""
        self._server.close()

    def __enter__(self) -> I2cBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, ask: Ask, connection: int) -> Told:
        del connection
        if self.stuck:
            return Told(-errno.ETIMEDOUT)
        at, heard = 0, bytearray()
        try:
            for _ in range(ask.code):
                address, flags, size = _MESSAGE.unpack_from(ask.body, at)
                at += _MESSAGE.size
                self._spend(size + 1)
                if flags & _READS:
                    heard += self._read(address, size)
                else:
                    self._write(address, ask.body[at : at + size])
                    at += size
        except Nack:
            return Told(-self.nack)
        return Told(ask.code, bytes(heard))

    def _spend(self, size: int) -> None:
        if self.clock:
            time.sleep(size * 9 / self.clock)

    def _device(self, address: int) -> I2cDevice:
        if address not in self.devices:
            raise Nack
        return self.devices[address]

    def _read(self, address: int, size: int) -> bytes:
        now = time.monotonic()
        told = self._device(address).read(size, now)[:size].ljust(size, b"\xff")
        self.log.append((now, address, "r", told))
        return told

    def _write(self, address: int, data: bytes) -> None:
        now = time.monotonic()
        self._device(address).write(data, now)
        self.log.append((now, address, "w", data))
