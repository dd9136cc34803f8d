"""Devices that share no wire with others: Bluetooth sensors that advertise, contacts on a pin."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Line, Pin, Unit
from lamppost.findings import Finding, found

_FLICKER, _BOUNCES = 20, 25
"""So many changes, and so many for each that stood: no contact does that."""
_OFTEN = 3


def air(line: Line) -> Iterator[Finding]:
    """Nobody at all, single devices that are not heard, and those that cannot be read."""
    if not line.others and not any(unit.bytes for unit in line.units):
        yield found("bus.ble-deaf", line.link, where=line.where)
        return
    for unit in line.units:
        yield from _heard(unit, line)


def _heard(unit: Unit, line: Line) -> Iterator[Finding]:
    name = unit.device
    if not unit.bytes:
        which = "sensors.not-heard" if unit.seconds >= unit.period else "sensors.not-heard-yet"
        yield found(
            which,
            name,
            device=name,
            address=unit.at,
            seconds=f"{unit.seconds:.0f}",
            every=f"{unit.period:g}",
        )
    elif unit.other_model:
        yield found(
            "sensors.other-model", name, device=name, model=unit.model, known=unit.other_model
        )
    elif unit.why and "PermissionError" in unit.why:
        yield found(
            "sensors.unmeasured",
            name,
            device=name,
            link=line.link,
            why=f"{unit.why}; ask with sudo",
        )
    elif unit.why:
        yield found("sensors.no-key", name, device=name, why=unit.why)
    elif not unit.frames:
        yield found("sensors.not-readable", name, device=name, model=unit.model, count=unit.bytes)


def pins(line: Line) -> Iterator[Finding]:
    """Each input for itself."""
    for unit in line.units:
        if unit.pin is not None:
            yield from _pin(unit, unit.pin, line)
        else:
            yield found("bus.pin-busy", unit.device, where=unit.at, why=unit.why)


def _pin(unit: Unit, pin: Pin, line: Line) -> Iterator[Finding]:
    fields = {
        "device": unit.device,
        "link": line.link,
        "where": unit.at,
        "seconds": f"{unit.seconds:.0f}",
        "edges": pin.edges,
        "debounce": f"{pin.debounce * 1000:g}",
        "bounce": f"{pin.bounce * 1000:g}",
        "quick": pin.quick,
        "changes": pin.changes,
    }
    if pin.edges >= max(_FLICKER, _BOUNCES * pin.changes):
        yield found("sensors.pin-flickers", unit.device, **fields)
    elif pin.quick >= _OFTEN and pin.debounce < pin.bounce:
        yield found("sensors.contact-bounces", unit.device, **fields)
    elif not pin.edges:
        held = pin.level == pin.active
        yield found("sensors.contact-closed" if held else "sensors.no-pulse", unit.device, **fields)
