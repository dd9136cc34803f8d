"""Listens to Bluetooth advertisements for a while: who of the site is heard, and can what it says be read?

Nothing is sent. BlueZ lets several programs scan at a time, so no lease is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lamppost.acquire.credential import Credential
from lamppost.acquire.outcome import ask
from lamppost.clock import Clock
from lamppost.diagnosis.facts import Unit
from lamppost.errors import LinkError
from lamppost.model import Quality
from lamppost_drivers.contract import Advertisement, BroadcastDriver

ENOUGH = 3
"""Advertisements of a device after which no more are waited for."""
_SLICE = 0.5


class Radio(Protocol):
    """`links.ble.BleLink`, or a test's stand-in for it. `stray`: advertisements of others."""

    stray: int

    async def receive(self, seconds: float) -> list[Advertisement]:
        """What was heard since. Raises LinkError."""
        ...


@dataclass(slots=True)
class Heard:
    """A device of the site, and what was heard of it. `every`: seconds within which the site expects it."""

    device: str
    driver: BroadcastDriver
    address: str
    every: float
    key: Credential | None
    packets: list[Advertisement] = field(default_factory=list)


async def listen(
    radio: Radio,
    devices: Sequence[Heard],
    others: Sequence[BroadcastDriver],
    clock: Clock,
    seconds: float,
    tell: Callable[[str], None],
) -> list[Unit]:
    """Listen until all were heard, or the time is over. Raises LinkError where the radio is lost."""
    began = clock.monotonic()
    known = {each.address: each for each in devices}
    while (passed := clock.monotonic() - began) < seconds:
        there = sum(bool(each.packets) for each in devices)
        tell(f"listening: {there} of {len(devices)} heard, {seconds - passed:.0f} s to go")
        for packet in await radio.receive(min(_SLICE, seconds - passed)):
            if packet.address in known:
                known[packet.address].packets.append(packet)
        if all(len(each.packets) >= ENOUGH for each in devices):
            break
    return [_judged(each, others, clock.monotonic() - began) for each in devices]


def _judged(heard: Heard, others: Sequence[BroadcastDriver], seconds: float) -> Unit:
    driver, model = heard.driver, heard.driver.model
    mine = [p for p in heard.packets if ask(model, driver.matches, p) is True]
    why, key = "", b""
    if mine and heard.key is not None:
        try:
            key = heard.key.read()
        except LinkError as error:
            why = str(error)
    sound = 0
    if not why:
        sound = sum(not isinstance(ask(model, driver.decode, p, key), Quality) for p in mine)
    return Unit(
        device=heard.device,
        model=model,
        at=heard.address,
        period=heard.every,
        bytes=len(heard.packets),
        frames=sound,
        bad_frames=len(mine) - sound,
        seconds=round(seconds, 1),
        other_model="" if mine else _other(heard, others),
        why=why,
    )


def _other(heard: Heard, others: Sequence[BroadcastDriver]) -> str:
    """The model whose advertisements come from this address."""
    return next(
        (
            d.model
            for d in others
            if d.model != heard.driver.model
            and any(ask(d.model, d.matches, packet) is True for packet in heard.packets)
        ),
        "",
    )
