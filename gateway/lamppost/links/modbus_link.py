"""What a bus of Modbus units offers to whoever polls it, whatever carries the frames. Loads no library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

Table: TypeAlias = Literal["input", "holding", "coil", "discrete"]


class ModbusLink(Protocol):
    """Implemented by `rtu.RtuLink` and `tcp.TcpLink`."""

    stray: int
    """Bytes or frames that nobody had asked for."""

    @property
    def where(self) -> str:
        """The port or address, for people."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds a unit may take before it begins to answer."""
        ...

    @property
    def late(self) -> float:
        """Seconds after a request in which its answer, given up already, may still come and confuse the next."""
        ...

    def usual(self, unit: int) -> float:
        """Seconds in which an answer of this unit would have begun, by what was seen of it, or else of the others.

        Twice the slowest; `timeout` where nobody ever answered, and at most.
        """
        ...

    async def open(self) -> None:
        """Open it; harmless if it is open. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it; harmless if it is closed."""
        ...

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
        """`count` words (bits: 0 or 1) from the zero-based `address` of a unit's table.

        `rest`: seconds of silence that the unit wants after its answer. Raises LinkError `link.no-answer`,
        `link.corrupt`, `link.refused` (RefusedError) or `link.lost`.
        """
        ...
