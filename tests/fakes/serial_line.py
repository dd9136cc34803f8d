"""A serial link in memory with virtual time: bytes come when a test says so, and answers when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lamppost.errors import LinkError
from lamppost.links import faults


@dataclass
class FakeSerialLine:
    """Implements `acquire.serial_line.SerialLine`. `answers` is asked what comes back for what is sent."""

    answers: Callable[[bytes], bytes] = lambda sent: b""
    where: str = "fake"
    character: float = 0.001
    stray: int = 0
    missing: bool = False
    opened: bool = False
    opens: int = 0
    sent: list[bytes] = field(default_factory=list)
    _coming: bytes = b""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, data: bytes) -> None:
        """These bytes have come in now."""
        self._coming += data
        self._news.set()

    def unplug(self) -> None:
        """The port is gone."""
        self.missing = True
        self._news.set()

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.opens += 1
        if self.missing:
            raise LinkError("no such port", code="link.missing", hint="plug it in", retry=True)
        self.opened = True

    def close(self) -> None:
        self.opened = False

    async def send(self, data: bytes) -> None:
        self._check()
        self.stray += len(self._coming)
        self._coming = b""
        self.sent.append(data)
        await asyncio.sleep(len(data) * self.character)
        if answer := self.answers(data):
            self.say(answer)

    async def receive(self, seconds: float) -> bytes:
        self._check()
        if not self._coming:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return b""
            self._check()
        data, self._coming = self._coming, b""
        return data

    def _check(self) -> None:
        if self.missing or not self.opened:
            raise faults.lost(self.where)
