"""Examines an I2C bus: who acknowledges its address? Nothing is written to a device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from lamppost.diagnosis.facts import Trial, Unit
from lamppost.errors import LinkError

_TRIES = 3

Exchange = Callable[[bytes, float, int], Awaitable[object]]


class I2c(Protocol):
    """`links.i2c.I2cLink`, or the daemon's under a lease."""

    async def touch(self, address: int) -> str:
        """Whether an address acknowledges a read: good, silent, or the code of another LinkError."""
        ...


async def acknowledges(bus: I2c, address: int) -> str:
    """A sensor that works on a command refuses at once, and answers a moment later: asked a few times."""
    said = "silent"
    for _ in range(_TRIES):
        said = await bus.touch(address)
        if said != "silent":
            break
    return said


async def examine(bus: I2c, devices: Sequence[tuple[str, str, int]]) -> list[Unit]:
    """Devices as name, model and address. Raises LinkError where the bus itself is gone."""
    units = []
    for device, model, address in devices:
        said = await acknowledges(bus, address)
        outcome = "good" if said == "good" else "silent"
        trial = Trial(line="i2c", outcome=outcome)
        why = said if said not in ("good", "silent") else ""
        units.append(
            Unit(device=device, model=model, at=f"{address:#04x}", trials=[trial], why=why)
        )
        if why == "link.stuck":
            break
    return units


async def touched(exchange: Exchange, address: int) -> str:
    """`touch` by a link's `exchange`: an empty write, which changes nothing; a read where that is not acknowledged."""
    for count in (0, 1):
        try:
            await exchange(bytes((address,)), 1.0, count)
        except LinkError as error:
            if error.code == "link.stuck":
                return error.code
            if error.code != "link.no-answer":
                raise
        else:
            return "good"
    return "silent"
