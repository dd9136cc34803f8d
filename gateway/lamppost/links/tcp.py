"""Modbus/TCP: one connection, transactions told apart by their number, reopened by whoever uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from lamppost.errors import LinkError
from lamppost.links import dial, faults, modbus
from lamppost.links.modbus_link import Table

_SILENT_TIMEOUTS = 3
"""Requests in a row without any answer after which the connection itself is in doubt."""
_LAST_TRANSACTION = 0xFFFF
_NETWORK = 0.1
"""Seconds that a network may add to what was seen of it so far."""


class TcpLink:
    """A `modbus_link.ModbusLink` to a server or to a gateway with a line of units behind it."""

    late = 0.0  # a late answer has its own transaction number

    def __init__(self, host: str, port: int = 502, timeout: float = 1.0) -> None:
        self.where = f"{host}:{port}"
        self.timeout = timeout
        self.stray = 0
        self._address = (host, port)
        self._connection: _Connection | None = None
        self._unanswered = 0
        self._slowest: dict[int, float] = {}  # by unit

    def usual(self, unit: int) -> float:
        """See `modbus_link.ModbusLink`."""
        slowest = self._slowest.get(unit) or max(self._slowest.values(), default=self.timeout)
        return min(self.timeout, 2 * slowest + _NETWORK)

    async def open(self) -> None:
        """See `modbus_link.ModbusLink`. Raises LinkError `link.missing`."""
        if self._connection is not None and self._connection.why is None:
            return
        self.close()
        self._connection = await dial.connect(_Connection, self._address, self.timeout)
        self._unanswered = 0

    def close(self) -> None:
        """See `modbus_link.ModbusLink`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def read(
        self,
        unit: int,
        table: Table,
        address: int,
        count: int,
        *,
        timeout: float | None = None,
        rest: float = 0.0,
    ) -> Sequence[int]:
        """See `modbus_link.ModbusLink`; `rest` is the business of the other end."""
        del rest
        request = modbus.read_request(unit, table, address, count)
        connection = self._connection
        if connection is None:
            raise faults.not_open(self.where)
        wait = self.timeout if timeout is None else timeout
        asked = connection.now()
        try:
            adu = await connection.ask(request.tail, wait)
        except LinkError:
            self.close()
            raise
        finally:
            self.stray += connection.take_stray()
        if adu is None:
            self._count_silence()
            raise faults.no_answer(f"{self.where}: {request}", wait)
        self._unanswered = 0
        took = connection.now() - asked
        if took > self._slowest.get(unit, 0.0):
            self._slowest[unit] = took
        return request.values(request.pdu_of(adu))

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send a unit id and a PDU; the unit id and PDU of the answer, empty without one.

        Raises LinkError `link.lost` or `link.corrupt`.
        """
        connection = self._connection
        if connection is None:
            raise faults.not_open(self.where)
        if len(request) < 2:
            return b""
        tail = modbus.adu(request[0], request[1:], 0)[2:]
        try:
            adu = await connection.ask(tail, seconds)
        except LinkError:
            self.close()
            raise
        return b"" if adu is None else adu[modbus.MBAP :][: count or None]

    def _count_silence(self) -> None:
        self._unanswered += 1
        if (
            self._unanswered >= _SILENT_TIMEOUTS
        ):  # half-open, or the far end is confused: begin anew
            self.close()


class _Connection(asyncio.Protocol):
    """Sends one request at a time; answers of another transaction are counted and dropped."""

    def __init__(self) -> None:
        self.why: LinkError | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._transaction = 0
        self._waiter: asyncio.Future[bytes | None] | None = None
        self._stray = 0
        self._loop = asyncio.get_running_loop()
        self._give_up_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def ask(self, tail: bytes, seconds: float) -> bytes | None:
        """Send an ADU, but for its transaction: the ADU that answers, or None if none came in time.

        Raises LinkError `link.lost` or `link.corrupt`.
        """
        if self.why is not None or self._transport is None:
            raise self.why or faults.lost("connection")
        waiter: asyncio.Future[bytes | None] = self._loop.create_future()
        self._waiter = waiter
        self._transaction = self._transaction % _LAST_TRANSACTION + 1
        self._transport.write(self._transaction.to_bytes(2, "big") + tail)
        self._give_up_at = self._loop.time() + seconds
        if self._timer is None or self._timer_at > self._give_up_at:
            self._set_timer()
        try:
            return await waiter
        finally:
            self._waiter = None

    def now(self) -> float:
        """The event loop's time: free of charge, as precise as its turns."""
        return self._loop.time()

    def take_stray(self) -> int:
        """Answers since the last call that nobody waited for."""
        found, self._stray = self._stray, 0
        return found

    def close(self) -> None:
        """Hang up without waiting for what is unsent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Cut ADUs out of the stream; bytes that are no Modbus end the connection."""
        self._buffer = self._buffer + data if self._buffer else data
        try:
            while length := modbus.adu_length(self._buffer):
                if len(self._buffer) < length:
                    return
                adu, self._buffer = self._buffer[:length], self._buffer[length:]
                self._take(adu)
        except LinkError as why:
            self._fail(why)

    def connection_lost(self, exc: Exception | None) -> None:
        """Reset, closed by the other end, or by us."""
        self._fail(faults.lost("connection", exc or "closed by the other end"))

    def _take(self, adu: bytes) -> None:
        mine = int.from_bytes(adu[:2], "big") == self._transaction
        if mine and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(adu)
        else:
            self._stray += 1

    def _set_timer(self) -> None:
        """One timer for many requests: at its time it looks whether the present one is late already."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._give_up_at
        self._timer = self._loop.call_at(self._timer_at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._give_up_at:
            self._set_timer()
        else:
            self._waiter.set_result(None)

    def _fail(self, why: LinkError) -> None:
        self.why = self.why or why
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(why)
        self.close()
