"""The pseudo-terminal behind which a line hides, and the symlink by which a driver finds it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import pty
import select
import termios
import tty
from pathlib import Path

_TCGETS2 = 0x802C542A
# termios2: four flag words, a line discipline and 19 characters, then c_ispeed and c_ospeed.
_CFLAG, _LFLAG, _SPEED_WORD = 2, 3, 9
# A pty drops parity and size. The preload shim keeps them where a pty loses nothing, see preload/tty.c.
_PARITY_IS_ON = 0o10000000000
_SEVEN_BITS = 0o40000


class Terminal:
    """A pty whose other end is reachable at `path`. The speed that the driver sets is readable here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd, self._name = self._make()
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def _make(self) -> tuple[int, str]:
        """A new pty behind the path: our end, and the name of the other."""
        fd, other = pty.openpty()
        tty.setraw(other)
        name = os.ttyname(other)
        # Once opened and closed, the kernel reports "hung up" until a driver opens the port.
        os.close(other)
        os.set_blocking(fd, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        os.replace(beside, self.path)
        return fd, name

    def free(self) -> None:
        """A driver has left: let the next one in, even if it was killed while the port was its own (TIOCEXCL).

        A real port forgets that with its last close; a pty keeps it and lets only root in. So there is a new one.
        """
        try:
            other = os.open(self._name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            if self.opened():
                return  # the next one is there already
            self._poll.unregister(self.fd)
            os.close(self.fd)
            self.fd, self._name = self._make()
            self._poll.register(self.fd, select.POLLIN)
        else:
            with contextlib.suppress(OSError):
                fcntl.ioctl(other, termios.TIOCNXCL)
            os.close(other)

    def close(self) -> None:
        """The adapter is gone: the path vanishes, an open port is hung up."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)

    def opened(self) -> bool:
        """Whether a driver holds the port open now."""
        return not any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def settings(self) -> tuple[int, str]:
        """What the driver set: bits a second for sending, and the form of a character, such as 8N1 or 7E1.

        The form is right only for a driver under the preload shim: without it, a pty knows no parity.
        """
        words = array.array("I", [0] * 16)
        fcntl.ioctl(self.fd, _TCGETS2, words)
        odd = "O" if words[_CFLAG] & termios.PARODD else "E"
        parity = odd if words[_CFLAG] & _PARITY_IS_ON else "N"
        size = 7 if words[_LFLAG] & _SEVEN_BITS else 8
        stop = 2 if words[_CFLAG] & termios.CSTOPB else 1
        return words[_SPEED_WORD + 1] or words[_SPEED_WORD], f"{size}{parity}{stop}"

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
