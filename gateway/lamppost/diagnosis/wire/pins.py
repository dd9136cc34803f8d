"""Watches pulse inputs for a while: every change of level with its time, and what the site's debounce makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from lamppost.clock import Clock
from lamppost.diagnosis.facts import Pin, Unit
from lamppost.errors import LinkError

ENOUGH = 3
"""Pulses of every input after which no more are waited for."""
_SLICE = 0.25
_NS = 1e9


class Trace(Protocol):
    """`links.gpio.Trace`."""

    @property
    def first(self) -> int:
        """The level at the beginning."""
        ...

    @property
    def edges(self) -> Sequence[tuple[int, int]]:
        """Nanoseconds and level of each change."""
        ...


class Pins(Protocol):
    """`links.gpio.GpioLink`, or a test's stand-in for it."""

    def trace(self, pin: int) -> Trace:
        """Note every change of a pin from now on. Raises LinkError."""
        ...


@dataclass(frozen=True, slots=True)
class Input:
    """A pulse input as the site has it; seconds. `bounce`: how long contacts of this model bounce at most."""

    device: str
    model: str
    pin: int
    active: int
    debounce: float
    bounce: float


async def watch(
    pins: Pins,
    inputs: Sequence[Input],
    clock: Clock,
    seconds: float,
    tell: Callable[[str], None],
) -> list[Unit]:
    """Watch until all have pulsed, or the time is over. A pin that is held by another is told in its unit."""
    traces: dict[str, Trace] = {}
    refused: dict[str, LinkError] = {}
    for each in inputs:
        try:
            traces[each.device] = pins.trace(each.pin)
        except LinkError as error:
            refused[each.device] = error
    began = clock.monotonic()
    while traces and (passed := clock.monotonic() - began) < seconds:
        tell(f"watching {len(traces)} inputs, {seconds - passed:.0f} s to go")
        await clock.sleep_until(clock.monotonic() + min(_SLICE, seconds - passed))
        seen = [looked(i, traces[i.device], passed) for i in inputs if i.device in traces]
        if all(pin.pulses >= ENOUGH for pin in seen):
            break
    took = clock.monotonic() - began
    return [
        Unit(
            device=i.device,
            model=i.model,
            at=f"GPIO{i.pin}",
            seconds=round(took, 1),
            why=str(refused.get(i.device, "")),
            pin=looked(i, traces[i.device], took) if i.device in traces else None,
        )
        for i in inputs
    ]


def looked(given: Input, trace: Trace, seconds: float) -> Pin:
    """What the changes come to. Pure."""
    edges = list(trace.edges)
    nexts = [at for at, _ in edges[1:]] + [edges[-1][0] + round(seconds * _NS)] if edges else []
    settled: list[tuple[int, int]] = []
    level = trace.first
    for (at, to), then in zip(edges, nexts, strict=True):
        if then - at >= given.debounce * _NS and to != level:
            settled.append((at, to))
            level = to
    stood = [b[0] - a[0] for a, b in pairwise(settled)]
    return Pin(
        level=edges[-1][1] if edges else trace.first,
        active=given.active,
        edges=len(edges),
        pulses=sum(to == given.active for _, to in settled),
        changes=len(settled),
        quick=sum(each < given.bounce * _NS for each in stood),
        debounce=given.debounce,
        bounce=given.bounce,
    )
