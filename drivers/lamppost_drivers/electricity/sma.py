"""What all SMA devices behind a Sunny WebBox share: values for "not available", and the list of who is there.

Source: SMA Sunny WebBox Modbus interface, technical description: data types, and unit ids from register 42109 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ABSENT: Mapping[str, int] = {
    "int16": 0x8000,
    "uint16": 0xFFFF,
    "int32": 0x80000000,
    "uint32": 0xFFFFFFFF,
    "uint64": 0xFFFFFFFFFFFFFFFF,
}
"""The raw value of each type that stands for no value."""
LIST_AT, PLACES, WIDTH = 42109, 245, 4
"""First register of the list, how many places it has, registers of each: kind, serial number (2), unit id."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a WebBox's list of devices; a free one is all 0."""

    kind: int
    serial: int
    unit: int


def references(blocks: Mapping[int, Sequence[int]]) -> tuple[Reference, ...]:
    """The places of the list as far as registers (by address) reach; those that were not read count as free.

    The list ends at a place whose kind is not available.
    """
    words = {start + i: word for start, block in blocks.items() for i, word in enumerate(block)}
    last = max(
        (at for at in words if LIST_AT <= at < LIST_AT + PLACES * WIDTH), default=LIST_AT - 1
    )
    found: list[Reference] = []
    for at in range(LIST_AT, last + 1, WIDTH):
        kind, high, low, unit = (words.get(at + i, 0) for i in range(WIDTH))
        if kind == ABSENT["uint16"]:
            break
        found.append(Reference(kind, high << 16 | low, unit))
    return tuple(found)
