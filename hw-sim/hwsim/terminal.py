"""The pseudo-terminal behind which a line hides, and the symlink by which a driver finds it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import pty
import select
import tty
from pathlib import Path

_TCGETS2 = 0x802C542A
_SPEED_WORD = (
    9  # termios2: four flag words, a line discipline, 19 characters, then c_ispeed and c_ospeed
)


class Terminal:
    """A pty whose other end is reachable at `path`. The speed that the driver sets is readable here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd, other = pty.openpty()
        tty.setraw(other)
        name = os.ttyname(other)
        # Once opened and closed, the kernel reports "hung up" until a driver opens the port.
        os.close(other)
        os.set_blocking(self.fd, False)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        os.replace(beside, path)
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def close(self) -> None:
        """The adapter is gone: the path vanishes, an open port is hung up."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)

    def opened(self) -> bool:
        """Whether a driver holds the port open now."""
        return not any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def speed(self) -> int:
        """Bits a second that the driver set for sending."""
        words = array.array("i", [0] * 16)
        fcntl.ioctl(self.fd, _TCGETS2, words)
        return words[_SPEED_WORD + 1] or words[_SPEED_WORD]

    def read(self) -> bytes:
        """All that the driver wrote since; empty if nothing or if the port is closed."""
        try:
            return os.read(self.fd, 4096)
        except OSError:  # EAGAIN: nothing there; EIO: nobody has the port open
            return b""

    def write(self, data: bytes) -> int:
        """Hand bytes to the driver; returns how many its buffer took."""
        with contextlib.suppress(OSError):
            return os.write(self.fd, data)
        return 0
