"""Which blocks to read for a set of registers: as few requests as the device allows. Pure.

Blocks hold whole values only (some meters refuse half a value). What a device refused is remembered as a *cut*: the
(table, address) of a register before which a block must begin anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lamppost_drivers.contract import Register, Table

Cut: TypeAlias = tuple[Table, int]

MAX_BITS = 2000
"""Coils or discrete inputs in one request (Modbus application protocol 1.1b3, clauses 6.1 and 6.2)."""


@dataclass(frozen=True, slots=True)
class Block:
    """One request: `count` cells of `table` from the zero-based `address`, and the registers that lie in them."""

    table: Table
    address: int
    count: int
    registers: tuple[Register, ...]


def blocks(
    registers: Iterable[Register],
    max_words: int,
    max_gap: int,
    cuts: Collection[Cut] = frozenset(),
) -> tuple[Block, ...]:
    """The blocks that hold all `registers`, by table and address.

    A block asks for at most `max_words` cells (16 times as many where a cell is a bit) and reads over at most
    `max_gap` cells that nobody wants. A single register longer than `max_words` is a block of its own.
    """
    found: list[Block] = []
    group: list[Register] = []
    for register in sorted(set(registers), key=lambda r: (r.table, r.address, r.words)):
        if group and not _joins(group, register, max_words, max_gap, cuts):
            found.append(_block(group))
            group = []
        group.append(register)
    if group:
        found.append(_block(group))
    return tuple(found)


def _end(group: Iterable[Register]) -> int:
    return max(register.address + register.words for register in group)


def _block(group: Sequence[Register]) -> Block:
    start = group[0].address
    return Block(group[0].table, start, _end(group) - start, tuple(group))


def _joins(
    group: Sequence[Register],
    register: Register,
    max_words: int,
    max_gap: int,
    cuts: Collection[Cut],
) -> bool:
    first, end = group[0], _end(group)
    if register.table != first.table or (register.table, register.address) in cuts:
        return False
    bits = register.table in ("coil", "discrete")
    limit = min(MAX_BITS, 16 * max_words) if bits else max_words
    span = max(end, register.address + register.words) - first.address
    return register.address - end <= max_gap and span <= limit


def cut(block: Block) -> Cut | None:
    """Where to cut a block that the device refused as "illegal data address" or "illegal data value".

    First at the widest gap that nobody wants, as an unknown cell in it is the likely reason; without a gap in the
    middle. None where the block is one register (or registers at one address), which then is what is refused.
    """
    best: tuple[int, float, int] | None = None
    middle = block.address + block.count / 2
    end = block.address
    for register in block.registers:
        if register.address > block.address:
            rank = (register.address - end, -abs(register.address - middle), register.address)
            best = max(best, rank) if best else rank
        end = max(end, register.address + register.words)
    return (block.table, best[2]) if best else None


def probe(registers: Iterable[Register]) -> Block:
    """The cheapest block that tells whether the device is there: its shortest register. There must be one."""
    return _block([min(registers, key=lambda r: (r.words, r.address))])
