"""Did the trial go well? What worked before must work again. Pure: the daemon says what it sees, this judges it."""

from __future__ import annotations

from dataclasses import dataclass

from lamppost.ota.refusal import ConfigUnfit
from lamppost.ota.state import Baseline


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the daemon sees of its stages at one moment, since its start.

    `devices` are all of the site, `answering` those whose newest sample came well, `slow` those that are asked too
    seldom to answer within a trial. `flapping`: alert rules that never come to rest. `servers`: whether one of the
    time servers that the site names answers right, or it names none.
    """

    devices: frozenset[str] = frozenset()
    answering: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    connected: bool = False
    receipts: int = 0
    clock: bool = False
    servers: bool = True
    flapping: frozenset[str] = frozenset()


def baseline_of(vitals: Vitals, *, source: bool) -> Baseline:
    """What a trial that begins now must reach again."""
    return Baseline(
        devices=tuple(sorted(vitals.answering)),
        hub=vitals.connected,
        clock=vitals.clock,
        source=source,
        flapping=tuple(sorted(vitals.flapping)),
    )


def is_well(vitals: Vitals) -> bool:
    """Whether nothing is left to wait for after a start."""
    return vitals.connected and vitals.devices <= vitals.answering | vitals.slow


def missing(baseline: Baseline, vitals: Vitals, *, source: bool) -> ConfigUnfit | None:
    """The first thing that worked before and does not yet; None when all of it does.

    A device that the configuration no longer names is no longer expected, unless none that answered is left.
    """
    wanted = set(baseline.devices) & vitals.devices
    if baseline.devices and not wanted:
        return ConfigUnfit("ota.devices-silent", "no device that answered before is left in it")
    silent = sorted(wanted - vitals.answering - vitals.slow)
    if silent:
        names = ", ".join(silent[:5]) + (" …" if len(silent) > 5 else "")
        return ConfigUnfit("ota.devices-silent", f"answered before, silent now: {names}")
    if restless := sorted(vitals.flapping - set(baseline.flapping)):
        return ConfigUnfit("ota.alert-storm", f"never at rest: {', '.join(restless[:5])}")
    if baseline.clock and not vitals.clock:
        return ConfigUnfit("ota.clock-wrong", "the clock was right before and is not now")
    if baseline.hub and not vitals.servers:
        return ConfigUnfit("ota.clock-wrong", "no time server that it names answers right")
    if baseline.hub and not vitals.receipts:
        where = "connected" if vitals.connected else "not connected"
        return ConfigUnfit("ota.no-receipt", f"no receipt since its start; the uplink is {where}")
    if baseline.source and not source:
        return ConfigUnfit("ota.no-source", "configuration could be fetched before, not now")
    return None
