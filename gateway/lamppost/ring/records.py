"""What goes into the ring and what comes out of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from lamppost.model import Span

MAX_COUNT = 0xFFFF  # readings in one record


class Record(Struct, frozen=True):
    """What is appended: a payload standing for `count` readings (1 to 65,535).

    Urgent records (alarms) are never evicted while the ring still holds an ordinary one that could go instead.
    """

    count: int
    payload: bytes
    urgent: bool = False


class Stored(Struct, frozen=True):
    """What is read back: the payload and the numbers of its readings."""

    span: Span
    payload: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class RingStats:
    """The ring in figures. `first`, `last`, `settled_through` are reading numbers of this epoch, sizes are bytes.

    `state` is one of ok, disk-full, read-only, io-error (appended records wait in memory) and salvaged (damage was
    found since the ring was opened; what could be read was kept). `bytes_used` is what stands on the disk, never more
    than `bytes_limit`. `evicted` (lost; what was reduced to windows before is not) and `appended` count readings over
    all epochs. `durable` is False while appended records wait in memory.
    """

    epoch: str
    first: int
    last: int
    settled_through: int
    held: int
    bytes_used: int
    bytes_limit: int
    evicted: int
    state: str
    appended: int
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading every byte of the ring found. `damaged` names places, as 'file at offset: length'."""

    segments: int
    blocks: int
    readings: int
    bytes_read: int
    damaged: tuple[str, ...]


class Numbered(NamedTuple):
    """A record and the number of its first reading, counted over all epochs of the ring."""

    first: int
    readings: int
    payload: bytes
    urgent: bool

    @property
    def last(self) -> int:
        """The number of its last reading."""
        return self.first + self.readings - 1

    @property
    def record(self) -> Record:
        """The record as it was appended."""
        return Record(self.readings, self.payload, self.urgent)
