"""Modbus requests and answers as bytes: pymodbus is the codec, and this is its only importer.

pymodbus's own client is not used. It sends without the t3.5 silence, takes a late answer for the next one (RTU has no
transaction id), drops damaged frames without a word and does not compare the byte count with what was asked. So the
exchange is ours (`rtu`, `tcp`); frames, CRC and PDUs are pymodbus's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
)

from lamppost.links.faults import RefusedError, corrupt
from lamppost.links.modbus_link import Table

_READS: Mapping[Table, type[ModbusPDU]] = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
_BIT_READS, _WORD_READS, _WRITES = (1, 2), (3, 4), (5, 6, 15, 16)
_EXCEPTION_LENGTH = 5  # unit, function, code, CRC
MBAP = 6  # transaction, protocol, length (Modbus messaging on TCP/IP 1.0b, clause 3.1.3)
_LONGEST_ADU = 260
_GLITCH = 2
"""Bytes that an RS-485 line without bias brings when a driver is switched on."""

_ANSWERS: Mapping[int, type[ModbusPDU]] = {1: ReadCoilsResponse, 2: ReadDiscreteInputsResponse}

_rtu = FramerRTU(DecodePDU(False))
_socket = FramerSocket(DecodePDU(False))


@dataclass(frozen=True, slots=True)
class Look:
    """What a buffer of received bytes holds of an answer.

    `answer` is its PDU once it is whole; else `missing` is how many bytes must come at least. `damaged`: a frame of
    the right shape was there, and its CRC was wrong.
    """

    answer: bytes | None
    missing: int
    damaged: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A request and the shape of its answer.

    `frame` is its RTU frame, `tail` its TCP ADU without the transaction, `head` how the answer begins: all of it that
    is known beforehand.
    """

    unit: int
    pdu: bytes
    count: int
    frame: bytes
    tail: bytes
    head: bytes
    length: int

    @classmethod
    def of(cls, unit: int, pdu: bytes) -> Request:
        """From a unit id and a request PDU. Raises ValueError for a function or a length that is not Modbus."""
        function = pdu[0] if pdu else 0
        if len(pdu) < 5 or not 0 <= unit <= 255:
            raise ValueError(f"unit {unit}, {pdu.hex()}: no Modbus request")
        count = int.from_bytes(pdu[3:5], "big")
        if function in _BIT_READS or function in _WORD_READS:
            size = (count + 7) // 8 if function in _BIT_READS else 2 * count
            if len(pdu) != 5 or not 1 <= size <= 250:
                raise ValueError(f"{pdu.hex()}: wrong length or count")
            head, length = bytes((unit, function, size)), size + 5
        elif function in _WRITES:
            head, length = bytes((unit, *pdu[:5])), 8
        else:
            raise ValueError(f"function {function} is not one we ask")
        return cls(unit, pdu, count, frame(unit, pdu), adu(unit, pdu, 0)[2:], head, length)

    def __str__(self) -> str:
        start = int.from_bytes(self.pdu[1:3], "big")
        return f"unit {self.unit}, function {self.pdu[0]}, {self.count} from {start}"

    # --- RTU

    def look(self, buffer: bytes) -> Look:
        """Find the answer in what the line brought.

        Before it there may be a glitch of a byte or two, or a late answer of another unit, but nothing else: who knows
        what it belongs to. What comes after it does no harm.
        """
        damaged = False
        for start in range(len(buffer)):
            length = self._length_at(buffer, start)
            if length == 0:
                continue
            if len(buffer) - start < length:
                return Look(None, length - (len(buffer) - start), damaged)
            frame = buffer[start : start + length]
            if sound(frame) and self._tolerable(buffer[:start]):
                return Look(frame[1:-2], 0, damaged)
            damaged = True
        return Look(None, _EXCEPTION_LENGTH, damaged)

    def _length_at(self, buffer: bytes, start: int) -> int:
        """How long the answer is that begins at `start`, or may begin there; 0 if none can."""
        if buffer.startswith(self.head, start):
            return self.length
        rest = buffer[start : start + len(self.head)]
        if rest[:2] == bytes((self.unit, self.pdu[0] | 0x80)):
            return _EXCEPTION_LENGTH
        may_begin = len(rest) < len(self.head) and self.head.startswith(rest)
        return _EXCEPTION_LENGTH if may_begin or rest == self.head[:1] else 0

    def _tolerable(self, before: bytes) -> bool:
        return len(before) <= _GLITCH or (sound(before) and before != self.frame)

    def is_echo(self, buffer: bytes) -> bool:
        """Whether what came back begins with the request itself."""
        return buffer.startswith(self.frame)

    # --- TCP

    def pdu_of(self, adu: bytes) -> bytes:
        """The answer's PDU out of a whole ADU of the right transaction. Raises CorruptError for another unit's."""
        if adu[MBAP] != self.unit:
            raise corrupt(str(self), adu, ended=True)
        return adu[MBAP + 1 :]

    # --- both

    def values(self, pdu: bytes) -> Sequence[int]:
        """Words, or bits as 0 and 1, of an answer; empty for a write.

        Raises RefusedError for an exception, CorruptError for an answer to another question.
        """
        function = self.pdu[0]
        if len(pdu) == 2 and pdu[0] == function | 0x80:
            raise RefusedError(str(self), pdu[1])
        if not pdu.startswith(self.head[1:]) or len(pdu) != self.length - 3:
            raise corrupt(str(self), pdu, ended=True)
        if function in _WRITES:
            return ()
        if function in _WORD_READS:
            return list(_words(self.count)(pdu, 2))
        answer = _ANSWERS[function]()
        try:
            answer.decode(pdu[1:])
        except (ModbusException, struct.error, IndexError):
            raise corrupt(str(self), pdu, ended=True) from None
        return [int(bit) for bit in answer.bits[: self.count]]


@lru_cache(maxsize=256)
def _words(count: int) -> Callable[[bytes, int], tuple[int, ...]]:
    """Takes so many words out of a PDU at once; pymodbus takes them one by one, at ten times the price."""
    return struct.Struct(f">{count}H").unpack_from


def sound(frame: bytes) -> bool:
    """Whether these bytes are one RTU frame with the right CRC."""
    return len(frame) > 3 and _rtu.compute_CRC(frame[:-2]) == int.from_bytes(frame[-2:], "big")


@lru_cache(maxsize=4096)
def read_request(unit: int, table: Table, address: int, count: int) -> Request:
    """A request to read. Raises ValueError for an address or a count that Modbus cannot say."""
    message = _READS[table](dev_id=unit, address=address, count=count)
    return Request.of(unit, message.function_code.to_bytes(1, "big") + message.encode())


def frame(unit: int, pdu: bytes) -> bytes:
    """An RTU frame: unit id, PDU, CRC."""
    return _rtu.encode(pdu, unit, 0)


def adu(unit: int, pdu: bytes, transaction: int) -> bytes:
    """A TCP ADU: MBAP header and PDU."""
    return _socket.encode(pdu, unit, transaction)


def silence(baud: int, character: int) -> int:
    """t3.5 in nanoseconds, for a character of so many: 3.5 characters, above 19200 baud 1.75 ms.

    Modbus over serial line 1.02, clause 2.5.1.1.
    """
    return 1_750_000 if baud > 19200 else (character * 7 + 1) // 2


def adu_length(buffer: bytes) -> int:
    """How long the ADU is that begins `buffer`, 0 while its header is not whole. Raises CorruptError if it is none."""
    if len(buffer) < MBAP:
        return 0
    length = int.from_bytes(buffer[4:6], "big")
    if buffer[2:4] != b"\0\0" or not 2 < length <= _LONGEST_ADU - MBAP:
        raise corrupt("not a Modbus/TCP header", bytes(buffer[:MBAP]), ended=True)
    return MBAP + length
