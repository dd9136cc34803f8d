"""What the kernel counted on a serial port: TIOCGICOUNT (tty_ioctl(4)). Real UARTs have it, ptys do not."""

from __future__ import annotations

import fcntl
import struct
from dataclasses import dataclass

_TIOCGICOUNT = 0x545D
_COUNTS = struct.Struct("=11i36x")
"""serial_icounter_struct: cts dsr rng dcd rx tx frame overrun parity brk buf_overrun, and nine ints kept free."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the port's driver was loaded. A difference of two looks is what happened in between."""

    frame: int
    overrun: int
    parity: int
    breaks: int

    def since(self, before: Counters) -> Counters:
        """What was added since."""
        return Counters(
            self.frame - before.frame,
            self.overrun - before.overrun,
            self.parity - before.parity,
            self.breaks - before.breaks,
        )


def read(descriptor: int) -> Counters | None:
    """The counters of an open port, or None where its driver does not count."""
    try:
        raw = fcntl.ioctl(descriptor, _TIOCGICOUNT, bytes(_COUNTS.size))
    except OSError:
        return None
    return decode(raw)


def decode(raw: bytes) -> Counters:
    """The kernel's struct as values."""
    _, _, _, _, _, _, frame, overrun, parity, breaks, buffer = _COUNTS.unpack(raw)
    return Counters(frame, overrun + buffer, parity, breaks)
