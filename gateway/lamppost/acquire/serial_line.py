"""What pollers of serial devices ask of their link."""

from __future__ import annotations

from typing import Protocol


class SerialLine(Protocol):
    """`links.serial.SerialLink`, or a test's stand-in for it."""

    stray: int

    @property
    def where(self) -> str:
        """The port, for people."""
        ...

    @property
    def character(self) -> float:
        """Seconds a character takes."""
        ...

    async def open(self) -> None:
        """Open it. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    async def send(self, data: bytes) -> None:
        """Write all of `data`; returns when it has left. Raises LinkError `link.lost`."""
        ...

    async def receive(self, seconds: float) -> bytes:
        """Bytes as soon as there are some, empty after so many seconds. Raises LinkError `link.lost`."""
        ...
