"""sd_notify(3): tell systemd that the daemon is ready, alive or stopping. Silent where no systemd listens."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send one state, such as "READY=1" or "WATCHDOG=1"."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.sendall(state.encode())


def watchdog_interval() -> float | None:
    """Seconds between two signs of life (half of what systemd allows), or None without a watchdog."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2e6 if allowed.isdigit() else None
