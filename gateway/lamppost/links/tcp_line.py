"""A serial line at the far end of a network: a transparent converter that passes bytes on as they are (M-Bus)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from lamppost.errors import LinkError
from lamppost.links import dial, faults

_UNANSWERED = 4
"""Requests in a row without a single byte after which the connection itself is in doubt: converters hang."""
_GAP = 0.3
"""Seconds of silence that end an answer: a network hands it over in pieces."""
_MOST = 4096


class TcpLine:
    """One connection, opened late and reopened at will. Methods that need it raise LinkError `link.lost`."""

    character = _GAP / 33  # what EN 13757-2 allows between two bytes, as if the line were so slow

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """`timeout`: seconds for the connection to come about."""
        self.where = f"{host}:{port}"
        self.stray = 0
        self._address = (host, port)
        self._timeout = timeout
        self._connection: _Connection | None = None
        self._unanswered = 0

    async def open(self) -> None:
        """Connect; harmless if connected. Raises LinkError `link.missing`."""
        if self._connection is not None and self._connection.why is None:
            return
        self.close()
        self._connection = await dial.connect(_Connection, self._address, self._timeout)
        self._unanswered = 0

    def close(self) -> None:
        """Hang up; harmless if there is no connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def send(self, data: bytes) -> None:
        """Write all of `data`. What had come in before is dropped."""
        connection = self._connected()
        self.stray += len(connection.take())
        self._unanswered += 1
        if self._unanswered > _UNANSWERED:
            self.close()
            raise faults.lost(self.where, f"not one byte after {_UNANSWERED} requests")
        connection.write(data)

    async def receive(self, seconds: float) -> bytes:
        """What has come in, as soon as there is something; empty after so many seconds without a byte."""
        connection = self._connected()
        data = await connection.receive(seconds)
        if data:
            self._unanswered = 0
        elif connection.why is not None:
            self.close()
            raise connection.why
        return data

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send bytes as they are; what comes back until it is silent, or `count` bytes. Without a request: listen."""
        if request:
            await self.send(request)
        data = await self.receive(seconds)
        while data and len(data) < (count or _MOST) and (more := await self.receive(_GAP)):
            data += more
        return data

    def _connected(self) -> _Connection:
        connection = self._connection
        if connection is None:
            raise faults.not_open(self.where)
        if connection.why is not None:
            self.close()
            raise connection.why
        return connection


class _Connection(asyncio.Protocol):
    """Keeps what came in until somebody asks for it."""

    def __init__(self) -> None:
        self.why: LinkError | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Send."""
        assert self._transport is not None
        self._transport.write(data)

    def take(self) -> bytes:
        """What came in since."""
        data, self._buffer = self._buffer, b""
        self._news.clear()
        return data

    async def receive(self, seconds: float) -> bytes:
        """What came in, or comes in so many seconds."""
        if not self._buffer and self.why is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        return self.take()

    def close(self) -> None:
        """Hang up without waiting for what is unsent."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Keep it; of what nobody fetches, the end."""
        self._buffer = (self._buffer + data)[-_MOST:]
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Reset, closed by the other end, or by us."""
        self.why = faults.lost("connection", exc or "closed by the other end")
        self._news.set()
