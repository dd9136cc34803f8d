"""A TCP server on an asyncio loop in a thread of its own, with connections that can be cut and a plug to pull."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_BACKLOG = 100


class Connection(asyncio.Protocol):
    """One client. Children take `data_received`."""

    transport: asyncio.Transport

    def __init__(self, server: TcpServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.closed(self)

    def send(self, data: bytes) -> None:
        """Answer, unless the client is gone."""
        if not self.transport.is_closing():
            self.transport.write(data)


class TcpServer:
    """Children say what a client talks to: `connected`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self.connections = 0
        self.open: set[Connection] = set()
        self._drained = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._listening: socket.socket | None = None
        self._beginning: set[asyncio.Task[object]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=type(self).__name__, daemon=True
        )

    def connected(self) -> Connection:
        """What a new client talks to."""
        return Connection(self)

    # --- life; called from any thread

    def start(self) -> Self:
        """Listen; `port` then holds the number the system chose."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def close(self) -> None:
        """Stop listening and drop every connection. Harmless if done before."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def unplug(self) -> None:
        """Drop every connection and stop listening, as when the device loses power."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    def plug(self) -> None:
        """Listen again at the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- on the loop

    def opened(self, connection: Connection) -> None:
        """A client came."""
        self.open.add(connection)
        self.connections += 1

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self.open.discard(connection)
        if not self.open:
            self._drained.set()

    async def _listen(self) -> None:
        if self._listening is None:
            # Accepted by hand: asyncio's own server, closed while a client comes, loses that client's socket.
            self._listening = socket.create_server((self.host, self.port), backlog=_BACKLOG)
            self._listening.setblocking(False)
            self.port = self._listening.getsockname()[1]
            self._loop.add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client is gone again
            client, _ = listening.accept()
            client.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(
                self._loop.connect_accepted_socket(self.connected, client)
            )
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _stop(self) -> None:
        if self._listening is None:
            return
        self._loop.remove_reader(self._listening)
        self._listening.close()
        self._listening = None
        while self._beginning:
            await asyncio.gather(*self._beginning, return_exceptions=True)
        for connection in list(self.open):
            connection.transport.abort()
        if self.open:
            self._drained.clear()
            await self._drained.wait()
