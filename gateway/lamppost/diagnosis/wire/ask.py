"""One read of a Modbus unit, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}


@dataclass(frozen=True, slots=True)
class Ask:
    """`count` cells from the zero-based `address`; `function` is one that only reads."""

    function: int
    address: int
    count: int
