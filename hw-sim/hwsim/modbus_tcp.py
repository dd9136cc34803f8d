"""Modbus units behind TCP (Modbus messaging on TCP/IP 1.0b): an asyncio server in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from hwsim.modbus import FaultyUnit

_HEADER = 6
_NOBODY = 11


class TcpUnit(FaultyUnit):
    """A unit behind a TCP server; the same faults, except those that only a serial frame can have."""


class ModbusTcpServer:
    """`with ModbusTcpServer([TcpUnit(1, Unit(...))]) as server: connect(server.host, server.port)`.

    A unit id nobody has gets exception 11 (gateway target did not answer), as from a real RTU gateway.
    """

    def __init__(self, units: Iterable[FaultyUnit], host: str = "127.0.0.1", port: int = 0) -> None:
        self.units = {unit.unit: unit for unit in units}
        self.host = host
        self.port = port
        self.requests = 0
        self.connections = 0
        self.open: set[_Connection] = set()
        self._drained = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="modbus-tcp", daemon=True
        )

    def start(self) -> ModbusTcpServer:
        """Listen; `port` then holds the number the system chose."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def close(self) -> None:
        """Stop listening and drop every connection."""
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

    def __enter__(self) -> ModbusTcpServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _listen(self) -> None:
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is None:
            return
        # A connection just accepted is a task until its transport stands; a server that closes before loses it.
        while accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*accepting)
        self._server.close()
        self._server = None
        for connection in list(self.open):
            connection.transport.abort()
        if self.open:
            self._drained.clear()
            await self._drained.wait()

    def opened(self, connection: _Connection) -> None:
        """A client came."""
        self.open.add(connection)
        self.connections += 1

    def closed(self, connection: _Connection) -> None:
        """A client is gone."""
        self.open.discard(connection)
        if not self.open:
            self._drained.set()


class _Connection(asyncio.Protocol):
    """One client: cuts the stream into requests and answers each when its unit is ready."""

    transport: asyncio.Transport

    def __init__(self, server: ModbusTcpServer) -> None:
        self._server = server
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _HEADER:
            size = int.from_bytes(self._buffer[4:6], "big")
            if self._buffer[2:4] != b"\0\0" or size < 2:
                self.transport.abort()  # not Modbus: a real server hangs up
                return
            if len(self._buffer) < _HEADER + size:
                return
            transaction, body = (
                bytes(self._buffer[:2]),
                bytes(self._buffer[_HEADER : _HEADER + size]),
            )
            del self._buffer[: _HEADER + size]
            self._answer(transaction, body)

    def _answer(self, transaction: bytes, body: bytes) -> None:
        self._server.requests += 1
        unit = self._server.units.get(body[0])
        answer: tuple[float, bytes] | None = 0.0, bytes((body[1] | 0x80, _NOBODY))
        if unit is not None:
            answer = unit.respond(body[1:], time.monotonic())
        if answer is None:
            return
        delay, pdu = answer
        wrong = unit is not None and unit.faults.hits("wrong_unit", unit.seen)
        said = body[0] % 247 + 1 if wrong else body[0]
        reply = transaction + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((said,)) + pdu
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._send, reply)
        else:
            self._send(reply)

    def _send(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply)
