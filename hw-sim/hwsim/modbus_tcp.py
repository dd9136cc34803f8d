"""Modbus units behind TCP (Modbus messaging on TCP/IP 1.0b): an asyncio server in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from hwsim.modbus import FaultyUnit

_HEADER = 6


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
        self._serving: set[asyncio.Task[None]] = set()
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
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            while True:
                header = await reader.readexactly(_HEADER)
                body = await reader.readexactly(int.from_bytes(header[4:6], "big"))
                if header[2:4] != b"\0\0" or len(body) < 2:
                    break  # not Modbus: a real server hangs up
                self._answer(header[:2], body, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    def _answer(self, transaction: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        unit = self.units.get(body[0])
        if unit is None:
            answer: tuple[float, bytes] | None = 0.0, bytes((body[1] | 0x80, 11))
        else:
            answer = unit.respond(body[1:], time.monotonic())
        if answer is None:
            return
        delay, pdu = answer
        said = body[0]
        if unit is not None and unit.faults.hits("wrong_unit", unit.seen):
            said = said % 247 + 1
        reply = transaction + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((said,)) + pdu
        if delay > 0:
            self._loop.call_later(delay, _send, writer, reply)
        else:
            _send(writer, reply)


def _send(writer: asyncio.StreamWriter, reply: bytes) -> None:
    if not writer.is_closing():
        writer.write(reply)
