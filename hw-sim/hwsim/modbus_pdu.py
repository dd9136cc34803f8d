"""The application side of a Modbus unit: tables of registers and bits, and what each function does with them.

Modbus application protocol 1.1b3, clause 6. Pure: a request's bytes without address and check in, the answer's out.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Protocol

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, BUSY = 1, 2, 3, 4, 6


class Refusal(Exception):
    """The unit answers with an exception of this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


class Table(Protocol):
    """One of a unit's four tables. Words are 0..65535, bits 0 or 1; `now` is the moment of the request."""

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        """`count` cells from `address`; raises Refusal(ILLEGAL_ADDRESS) where there are none."""

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        """Change cells; raises Refusal where that is not allowed."""


class Cells:
    """A table that is a plain dict; addresses that are not in it are refused."""

    def __init__(self, cells: Mapping[int, int] | None = None, *, writable: bool = True) -> None:
        self.cells: MutableMapping[int, int] = dict(cells or {})
        self._writable = writable

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        del now
        try:
            return [self.cells[at] for at in range(address, address + count)]
        except KeyError:
            raise Refusal(ILLEGAL_ADDRESS) from None

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        del now
        span = range(address, address + len(values))
        if not self._writable or not all(at in self.cells for at in span):
            raise Refusal(ILLEGAL_ADDRESS)
        self.cells.update(zip(span, values, strict=True))


def table(cells: Table | Mapping[int, int] | None) -> Table:
    """A dict becomes a table, a table stays what it is."""
    return Cells(cells) if cells is None or isinstance(cells, Mapping) else cells


class Unit:
    """Tables behind functions 1, 2, 3, 4, 5, 6, 15, 16 and, with `identity`, 43/14 (object id to text)."""

    def __init__(
        self,
        *,
        holding: Table | Mapping[int, int] | None = None,
        inputs: Table | Mapping[int, int] | None = None,
        coils: Table | Mapping[int, int] | None = None,
        discrete: Table | Mapping[int, int] | None = None,
        identity: Mapping[int, str] | None = None,
        max_words: int = 125,
    ) -> None:
        self.holding, self.inputs = table(holding), table(inputs)
        self.coils, self.discrete = table(coils), table(discrete)
        self.identity = dict(identity or {})
        self._max_words = max_words

    def answer(self, request: bytes, now: float) -> bytes:
        """The answer to a request: function code and what follows, or an exception."""
        function = request[0]
        try:
            return bytes((function,)) + self._dispatch(function, request[1:], now)
        except Refusal as refusal:
            return bytes((function | 0x80, refusal.code))

    def _dispatch(self, function: int, body: bytes, now: float) -> bytes:
        if function == 0x2B:
            return self._identify(body)
        if function not in (1, 2, 3, 4, 5, 6, 15, 16):
            raise Refusal(ILLEGAL_FUNCTION)
        if len(body) < 4 or (function < 7 and len(body) != 4):
            raise Refusal(ILLEGAL_VALUE)
        address, number = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        match function:
            case 1 | 2:
                return self._read_bits(
                    self.coils if function == 1 else self.discrete, address, number, now
                )
            case 3 | 4:
                return self._read_words(
                    self.holding if function == 3 else self.inputs, address, number, now
                )
            case 5:
                if number not in (0, 0xFF00):
                    raise Refusal(ILLEGAL_VALUE)
                self.coils.write(address, [number >> 15], now)
            case 6:
                self.holding.write(address, [number], now)
            case 15:
                self.coils.write(address, _bits(body, number), now)
            case _:
                self.holding.write(address, _words(body, number), now)
        return body[:4]

    def _read_bits(self, source: Table, address: int, count: int, now: float) -> bytes:
        _check(1 <= count <= 2000, ILLEGAL_VALUE)
        _check(address + count <= 0x10000, ILLEGAL_ADDRESS)
        packed = sum(bool(bit) << at for at, bit in enumerate(source.read(address, count, now)))
        size = (count + 7) // 8
        return bytes((size,)) + packed.to_bytes(size, "little")

    def _read_words(self, source: Table, address: int, count: int, now: float) -> bytes:
        _check(1 <= count <= self._max_words, ILLEGAL_VALUE)
        _check(address + count <= 0x10000, ILLEGAL_ADDRESS)
        words = source.read(address, count, now)
        return bytes((2 * count,)) + b"".join(word.to_bytes(2, "big") for word in words)

    def _identify(self, body: bytes) -> bytes:
        """Read device identification (clause 6.21): basic and regular objects in one answer, or one object."""
        _check(bool(self.identity) and body[:1] == b"\x0e", ILLEGAL_FUNCTION)
        _check(len(body) == 3 and body[1] in (1, 2, 3, 4), ILLEGAL_VALUE)
        code, wanted = body[1], body[2]
        last = {1: 2, 2: 0x7F, 3: 0xFF, 4: wanted}[code]
        chosen = {key: text for key, text in sorted(self.identity.items()) if wanted <= key <= last}
        _check(bool(chosen), ILLEGAL_ADDRESS)
        told = b"".join(
            bytes((key, len(text.encode()))) + text.encode() for key, text in chosen.items()
        )
        return b"\x0e" + bytes((code, 0x83, 0, 0, len(chosen))) + told


def _check(good: bool, code: int) -> None:
    if not good:
        raise Refusal(code)


def _bits(body: bytes, count: int) -> list[int]:
    _check(
        1 <= count <= 1968 and len(body) == 5 + body[4] and body[4] == (count + 7) // 8,
        ILLEGAL_VALUE,
    )
    packed = int.from_bytes(body[5:], "little")
    return [packed >> at & 1 for at in range(count)]


def _words(body: bytes, count: int) -> list[int]:
    _check(1 <= count <= 123 and len(body) == 5 + body[4] and body[4] == 2 * count, ILLEGAL_VALUE)
    return [int.from_bytes(body[5 + 2 * at : 7 + 2 * at], "big") for at in range(count)]
