"""Modbus units behind TCP (Modbus messaging on TCP/IP 1.0b): an asyncio server in a thread of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from hwsim.modbus import FaultyUnit
from hwsim.tcp_server import Connection, TcpServer

_HEADER = 6
_NOBODY = 11


class TcpUnit(FaultyUnit):
    """A unit behind a TCP server; the same faults, except those that only a serial frame can have."""


class ModbusTcpServer(TcpServer):
    """`with ModbusTcpServer([TcpUnit(1, Unit(...))]) as server: connect(server.host, server.port)`.

    A unit id nobody has gets exception 11 (gateway target did not answer), as from a real RTU gateway.
    """

    def __init__(self, units: Iterable[FaultyUnit], host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host, port)
        self.units = {unit.unit: unit for unit in units}
        self.requests = 0

    def connected(self) -> Connection:
        """What a new client talks to."""
        return _Requests(self)


class _Requests(Connection):
    """Cuts the stream into requests and answers each when its unit is ready."""

    def __init__(self, server: ModbusTcpServer) -> None:
        super().__init__(server)
        self._modbus = server
        self._buffer = bytearray()

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
        self._modbus.requests += 1
        unit = self._modbus.units.get(body[0])
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
            asyncio.get_running_loop().call_later(delay, self.send, reply)
        else:
            self.send(reply)
