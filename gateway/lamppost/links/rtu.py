"""Modbus RTU over a serial port: one request at a time, the silences kept, a late answer never taken for another.

An RTU answer does not say which request it answers. So after a time-out the unit is left alone for `late` seconds:
what it still sends in that time finds nobody waiting for it. Other units may be asked meanwhile; their answers are
told apart by unit id, function, byte count and CRC. For an answer that comes later still, a unit that was given up is
first asked for another number of registers before the same number is asked for again: units answer in the order of the
requests, so with that answer all earlier ones have passed.

A late answer may also come while another unit is asked; on one pair of wires it then destroys what both say. So a unit
whose answer is damaged while others owe us theirs is asked again at once, once for each of them, twice at most. When
all that came was the late answer, whole, the unit that was asked said nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import faults, holder, modbus
from lamppost.links.faults import CorruptError
from lamppost.links.modbus import Request
from lamppost.links.modbus_link import Table
from lamppost.links.serial import LineSettings, SerialPort

_NS = 1_000_000_000
_PATIENCE = _NS // 2
"""How long we wait for a line to fall silent before we call it damaged."""
_LONGEST_FRAME = 256
_ADAPTER = 40_000_000
"""What an adapter (USB latency timer, FIFO time-out) may add between two bytes of a frame."""
_FORGOTTEN = 30 * _NS
"""Nobody answers a request that is so old."""
_OWED = 2.0
"""Times `late`: so long after a request we reckon with an answer that runs into another unit's."""
_AGAIN = 2
"""How often we ask again because of that."""
_WORTH_SLEEPING = 2
"""Missing characters from which on it pays not to wake for each."""


class RtuLink:
    """A `modbus_link.ModbusLink` on an RS-485 line or behind a USB adapter."""

    def __init__(
        self,
        path: Path,
        line: LineSettings,
        timeout: float = 0.3,
        *,
        locks: Path = holder.LOCKS,
    ) -> None:
        self.where = str(path)
        self.timeout = timeout
        self.late = max(1.0, 3 * timeout)
        self.stray = 0
        self._path = path
        self._line = self._configured = line
        self._locks = locks
        self._silence = modbus.silence(line.baud, line.character)
        self._port: SerialPort | None = None
        self._free = 0  # when the next frame may begin
        self._asked = 0  # when the last request was sent
        self._late_until: dict[int, int] = {}  # by unit: until when an answer given up may come
        self._given_up: dict[
            int, dict[bytes, int]
        ] = {}  # by unit: heads of answers due, and since when
        self._slowest: dict[int, int] = {}  # by unit, nanoseconds until the first byte

    def usual(self, unit: int) -> float:
        """See `modbus_link.ModbusLink`."""
        slowest = self._slowest.get(unit) or max(self._slowest.values(), default=0)
        return min(self.timeout, (2 * slowest + _ADAPTER) / _NS) if slowest else self.timeout

    async def open(self) -> None:
        """See `modbus_link.ModbusLink`. Raises LinkError `link.missing`, `.busy`, `.permission` or `.settings`."""
        if self._port is None:
            self._port = SerialPort.open(self._path, self._line, locks=self._locks)
            self._free = monotonic_ns() + self._silence

    def close(self) -> None:
        """See `modbus_link.ModbusLink`."""
        if self._port is not None:
            self._port.close()
            self._port = None

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
        """See `modbus_link.ModbusLink`. Waits out a late answer of the same unit first.

        Asks again where another unit's late answer may have run into this one.
        """
        request = modbus.read_request(unit, table, address, count)
        port = self._port
        if port is None:
            raise faults.not_open(self.where)
        wait = round((self.timeout if timeout is None else timeout) * _NS)
        pause = max(0, round(rest * _NS) - self._silence)
        try:
            return request.values(await self._unhurt(port, request, table, address, wait, pause))
        except LinkError as error:
            if error.code == "link.lost":
                self.close()
            raise

    async def _unhurt(
        self, port: SerialPort, request: Request, table: Table, address: int, wait: int, pause: int
    ) -> bytes:
        """The PDU of the answer; asked again where what other units owe us may have run into it."""
        unit, begun = request.unit, monotonic_ns()
        others = 0 if self._owes(unit, begun) else sum(self._owes(u, begun) for u in self._given_up)
        for _ in range(min(others, _AGAIN)):
            try:
                return await self._exchange(port, request, table, address, wait, pause)
            except CorruptError:
                if self._asked < begun:
                    raise  # the line was never silent
                # What this unit said was destroyed or has passed. Should it be late as well, it is told apart.
                self._late_until.pop(unit, None)
        return await self._exchange(port, request, table, address, wait, pause)

    def _owes(self, unit: int, now: int) -> bool:
        """Whether a late answer of this unit may come any moment."""
        since = now - round(_OWED * self.late * _NS)
        return any(at > since for at in self._given_up.get(unit, {}).values())

    def _is_late(self, buffer: bytes, unit: int) -> bool:
        """Whether this is what another than `unit` owed us, and nothing else."""
        other = buffer[0]
        return other != unit and modbus.sound(buffer) and self._owes(other, monotonic_ns())

    async def _exchange(
        self, port: SerialPort, request: Request, table: Table, address: int, wait: int, pause: int
    ) -> bytes:
        """The PDU of the answer to `request`, and to no other. `pause`: what the unit wants beyond the silence."""
        if other := self._told_apart(request, table, address):
            await self._ask(port, other, wait)
            self._free += pause
        answer = await self._ask(port, request, wait)
        self._free += pause
        return answer

    def _told_apart(self, request: Request, table: Table, address: int) -> Request | None:
        """Where an answer like the one to `request` may still come: a request whose answer looks different."""
        since = monotonic_ns() - _FORGOTTEN
        due = {h: at for h, at in self._given_up.pop(request.unit, {}).items() if at > since}
        if not due:
            return None
        self._given_up[request.unit] = due
        if request.head not in due:
            return None
        step = 1 if table in ("input", "holding") else 8
        others = (
            modbus.read_request(request.unit, table, address, n * step) for n in range(1, 100)
        )
        return next((other for other in others if other.head not in due), None)

    async def _ask(self, port: SerialPort, request: Request, wait: int) -> bytes:
        """Send a request when the line is silent: the PDU of its answer."""
        unit = request.unit
        await self._fall_silent(port, unit)
        self._asked = sent = await port.send(request.frame)
        self._free = sent + self._silence
        # Until the answer is here, whatever ends this wait leaves a late answer behind.
        self._late_until[unit] = sent + round(self.late * _NS)
        self._given_up.setdefault(unit, {})[request.head] = sent
        answer = await self._answer(port, request, sent + wait, wait)
        del self._given_up[unit]
        return answer

    async def exchange(self, request: bytes, seconds: float, count: int = 0) -> bytes:
        """Send a frame as it is, CRC included; what comes back until it is silent, or `count` bytes.

        The silences are kept, but a late answer is the asker's own business. Without a request: listen.
        Raises LinkError `link.lost` or `link.corrupt`.
        """
        port, start = self._port, monotonic_ns()
        if port is None:
            raise faults.not_open(self.where)
        if request:
            await self._fall_silent(port)
            start = await port.send(request)
            self._late_until[request[0]] = start + round(self.late * _NS)
        data = await port.gather(start + round(seconds * _NS), max(self._silence, _ADAPTER), count)
        self._free = max(start, monotonic_ns()) + self._silence
        if data and request:
            del self._late_until[request[0]]
        return data

    def tune(self, line: LineSettings | None) -> None:
        """Close it, and open it with other settings from now on; with those of the site again without any."""
        self.close()
        self._line = line or self._configured
        self._silence = modbus.silence(self._line.baud, self._line.character)

    async def _fall_silent(self, port: SerialPort, unit: int | None = None) -> None:
        """Wait until a frame (to `unit`) may begin; what comes in meanwhile is nobody's."""
        if unit is not None and (late := self._late_until.get(unit, 0)) > monotonic_ns():
            await port.until(late)
        longest = max(_PATIENCE, _LONGEST_FRAME * self._line.character)
        patience = max(monotonic_ns(), self._free) + longest
        while True:
            await port.until(self._free)
            noise = port.drain()
            if not noise:
                return
            # Nobody knows when these came: the silence begins with their reading.
            self.stray += len(noise)
            self._free = port.heard + self._silence
            if self._free > patience:
                raise faults.corrupt(f"{self.where}: never silent", noise, ended=True)

    async def _answer(self, port: SerialPort, request: Request, deadline: int, wait: int) -> bytes:
        """The PDU of the answer. `deadline` is for its first byte; the rest has the time that its length takes."""
        buffer, damaged, character, first, begun = b"", False, self._line.character, 0, deadline
        while chunk := await port.receive(deadline):
            now = port.heard
            self._free = now + self._silence
            if not buffer:
                first = now - (deadline - wait)
                deadline = max(deadline, now + 2 * request.length * character + _ADAPTER)
            buffer += chunk
            begun = min(begun, now - len(buffer) * character)
            look = request.look(buffer)
            if look.answer is not None:
                self.stray += len(buffer) - len(look.answer) - 3
                del self._late_until[request.unit]
                if first > self._slowest.get(request.unit, 0):
                    self._slowest[request.unit] = first
                return look.answer
            if look.damaged and not damaged:
                damaged = True
                deadline = min(deadline, now + max(self._silence, _ADAPTER))
            # What should be here by now is on its way through the adapter: that is not slept over.
            end = begun + (len(buffer) + look.missing) * character
            if look.missing >= _WORTH_SLEEPING and end > now:
                await port.until(min(deadline, end))
        if not buffer or self._is_late(buffer, request.unit):
            raise faults.no_answer(f"{self.where}: {request}", wait / _NS)
        if damaged:
            del self._late_until[request.unit]
            del self._given_up[request.unit][request.head]
        echo = request.is_echo(buffer)
        raise faults.corrupt(f"{self.where}: {request}", buffer, ended=damaged, echo=echo)
