"""Modbus units on a serial line, with faults; and, from `modbus_tcp`, the same units behind TCP.

Own CRC and own framing (Modbus over serial line 1.02, clause 2.5.1); nothing shared with the client under test.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hwsim.device import Device, Reply
from hwsim.modbus_pdu import BUSY, Cells, Refusal, Table, Unit

__all__ = [
    "Answered", "Cells", "Faults", "Refusal", "RtuUnit", "Table", "Unit", "crc16", "framed",
]  # fmt: skip


def _crc_table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (0xA001 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_CRC = _crc_table()


def crc16(frame: bytes) -> int:
    """CRC-16/MODBUS: polynomial 8005h reflected, begins with FFFFh."""
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def framed(unit: int, pdu: bytes) -> bytes:
    """An RTU frame: address, PDU, CRC with the low byte first."""
    frame = bytes((unit,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")


@dataclass(slots=True)
class Faults:
    """What is wrong with a unit. `..._every` n: with every n-th request it would answer; 0 never."""

    dead: bool = False
    delay: float = 0.0
    """Seconds added before every answer."""
    late: float = 0.5
    """Seconds by which a late answer is late."""
    late_every: int = 0
    late_rate: float = 0.0
    """Chance that an answer is late, 0 to 1, from the unit's seed."""
    drop_every: int = 0
    crc_every: int = 0
    wrong_unit_every: int = 0
    truncate_every: int = 0
    twice_every: int = 0
    """A second answer after the first, as when two units have the same id."""
    busy_every: int = 0
    exception: int = 0
    """Answer everything with this exception code; 0 does not."""

    def set(self, **changes: Any) -> None:
        """Change some by name; raises ValueError for an unknown one."""
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no fault {name!r}; there are {', '.join(sorted(known))}")
            setattr(self, name, value)

    def hits(self, name: str, count: int) -> bool:
        """Whether the fault `name`_every strikes request number `count`, which counts from 1."""
        every: int = getattr(self, f"{name}_every")
        return every > 0 and count % every == 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered rightly: when its values were taken, and what was asked."""

    at: float
    function: int
    address: int
    count: int


class FaultyUnit:
    """A unit with an id, a turnaround time and faults, whatever carries its frames."""

    def __init__(
        self, unit: int, model: Unit, *, delay: float = 0.004, seed: int = 0,
        faults: Faults | None = None,
    ) -> None:  # fmt: skip
        self.unit = unit
        self.model = model
        self.delay = delay
        self.faults = faults or Faults()
        self.seen = 0
        """Requests that were for this unit and undamaged."""
        self.answered: deque[Answered] = deque(maxlen=10_000)
        self._random = random.Random(seed)

    def respond(self, pdu: bytes, now: float) -> tuple[float, bytes] | None:
        """How long the unit takes and what it says, before anything damages the frame; None: no answer."""
        self.seen += 1
        faults, delay = self.faults, self.delay + self.faults.delay
        if faults.dead or faults.hits("drop", self.seen):
            return None
        if faults.hits("late", self.seen) or self._random.random() < faults.late_rate:
            delay += faults.late
        code = faults.exception or (BUSY if faults.hits("busy", self.seen) else 0)
        if code:
            return delay, bytes((pdu[0] | 0x80, code))
        answer = self.model.answer(pdu, now)
        if not answer[0] & 0x80 and len(pdu) >= 5:
            asked = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
            self.answered.append(Answered(now, pdu[0], *asked))
        return delay, answer


class RtuUnit(FaultyUnit, Device):
    """A Modbus RTU unit on a line: `RtuUnit(1, Unit(holding={0: 230}))`, or with a dict of holding registers.

    `delay`: seconds from the end of the request's silence to the first bit of the answer. A request that comes while
    the unit works on another is answered after that one.
    """

    def __init__(self, unit: int, model: Unit | Mapping[int, int], **how: Any) -> None:
        chosen = model if isinstance(model, Unit) else Unit(holding=model, inputs=model)
        super().__init__(unit, chosen, **how)
        self._busy_until = float("-inf")

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        if len(frame) < 4 or crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
            return
        if frame[0] == 0 and not self.faults.dead:  # broadcast: obeyed, never answered
            self.model.answer(frame[1:-2], now)
        if frame[0] != self.unit or (answer := self.respond(frame[1:-2], now)) is None:
            return
        delay, pdu = answer
        delay += max(0.0, self._busy_until - now)
        self._busy_until = now + delay
        reply = self._damaged(framed(self.unit, pdu))
        yield delay, reply
        if self.faults.hits("twice", self.seen):
            yield delay, reply

    def _damaged(self, reply: bytes) -> bytes:
        if self.faults.hits("wrong_unit", self.seen):
            return framed(self.unit % 247 + 1, reply[1:-2])
        if self.faults.hits("crc", self.seen):
            return reply[:-1] + bytes((reply[-1] ^ 0x55,))
        if self.faults.hits("truncate", self.seen):
            return reply[: max(2, len(reply) // 2)]
        return reply
