"""sd_notify(3) for the hub's services: ready, alive, stopping. Silent where no systemd listens.

Alive means that the event loop turns and the database's thread answers: a receiver that hangs in a disk is restarted.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from lamppost_hub.clock import Clock
from lamppost_hub.thread import DatabaseThread


def notify(state: str) -> None:
    """Send one state, such as "READY=1" or "WATCHDOG=1"."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.sendall(state.encode())


class Watchdog:
    """Sends a sign of life twice in the time that systemd allows, as long as both threads of the service turn."""

    def __init__(self, thread: DatabaseThread, clock: Clock) -> None:
        allowed = os.environ.get("WATCHDOG_USEC", "")
        self._interval = int(allowed) / 2e6 if allowed.isdigit() else 0.0
        self._thread = thread
        self._clock = clock

    async def run(self) -> NoReturn:
        """For ever. Says READY first."""
        notify("READY=1")
        while True:
            await self._clock.sleep(self._interval or 3600.0)
            await self._thread.call(_nothing)
            if self._interval:
                notify("WATCHDOG=1")


def _nothing() -> None:
    return None
