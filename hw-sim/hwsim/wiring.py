"""What electricians do to a line: swapped wires, two devices at one id, a second master, words in another order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from hwsim.device import Device, Reply
from hwsim.modbus import RtuUnit, framed
from hwsim.modbus_pdu import Table, Unit

_ORDERS = {"little": (1, 0, False), "BADC": (0, 1, True), "DCBA": (1, 0, True)}


class SwappedPair(Device):
    """A and B swapped at the driver: its own bias holds the line in a break, which a receiver reads as zero bytes.

    Each frame of the driver ends in a break; now and then the line falls into one by itself.
    """

    def __init__(self, every: float = 0.15, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._every = every
        self._next = 0.0

    def attached(self, now: float) -> None:
        self._next = now + self._every

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        del frame, now
        yield 0.0005, b"\0"

    def next_talk(self) -> float | None:
        return self._next

    def talk(self, now: float, byte_time: float) -> bytes:
        del byte_time
        self._next = max(self._next, now - 1.0) + self._every * self._random.uniform(0.7, 1.3)
        return b"\0"


class SecondMaster(Device):
    """Somebody else who polls this line: one request every `every` seconds."""

    def __init__(self, every: float = 0.12, unit: int = 9) -> None:
        self._every = every
        self._request = framed(unit, bytes.fromhex("0300000002"))
        self._next = 0.0

    def attached(self, now: float) -> None:
        self._next = now + self._every

    def next_talk(self) -> float | None:
        return self._next

    def talk(self, now: float, byte_time: float) -> bytes:
        del byte_time
        self._next = max(self._next, now - 1.0) + self._every
        return self._request


class Alternating(RtuUnit):
    """One of two units with the same id that answer in turn: this one to requests number `turn`, `turn` + 2, ..."""

    def __init__(self, unit: int, model: Unit, *, turn: int) -> None:
        super().__init__(unit, model)
        self._turn = turn

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        replies = list(super().hear(frame, now))
        return replies if self.seen % 2 == self._turn % 2 else []


class Reordered:
    """A table whose 32-bit values stand in another word order than those of `table`."""

    def __init__(self, table: Table, order: str) -> None:
        self._table = table
        self._first, _, self._swapped = _ORDERS[order]

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        words = list(self._table.read(address, count, now))
        if self._first:
            for at in range(0, len(words) - 1, 2):
                words[at], words[at + 1] = words[at + 1], words[at]
        return [word >> 8 | (word & 0xFF) << 8 for word in words] if self._swapped else words

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        self._table.write(address, values, now)


def reorder(unit: Unit, order: str) -> Unit:
    """`unit` with all its 32-bit input values, or holding values where it has no others, in another order."""
    unit.inputs = Reordered(unit.inputs, order)
    return unit
