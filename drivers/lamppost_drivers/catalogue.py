"""The device list as Markdown, made from the drivers: `python -m lamppost_drivers.catalogue`."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost_drivers.contract import (
    BroadcastDriver,
    Driver,
    ExchangeDriver,
    Kind,
    Point,
    PulseDriver,
    RegisterMap,
    StreamDriver,
)
from lamppost_drivers.library import LIBRARY, Library

_HEAD = """# Devices

This page is made from the drivers: `python -m lamppost_drivers.catalogue`. Do not edit it by hand.

A *model* is what a site file names. Each model has test vectors; `lamppost device selftest` runs them on a gateway.
Points marked ↑ are counters. How to add a device of your own: [add a device](../how-to/add-a-device.md).
"""
_KINDS = {
    RegisterMap: "Modbus",
    StreamDriver: "Serial sensors that talk on their own",
    ExchangeDriver: "Sensors and meters that are asked (I2C, serial, M-Bus)",
    BroadcastDriver: "Bluetooth LE",
    PulseDriver: "Pulse outputs",
}


def connection(driver: Driver) -> str:
    """How a device is connected, in the words of its plate."""
    match driver:
        case RegisterMap() | StreamDriver():
            line = driver.serial
            return f"{line.baud} {line.data_bits}{line.parity}{line.stop_bits}"
        case ExchangeDriver(bus="i2c"):
            return f"I2C 0x{driver.address:02x}"
        case ExchangeDriver():
            line = driver.serial
            bus = "M-Bus" if driver.bus == "mbus" else "serial"
            return f"{bus} {line.baud} {line.data_bits}{line.parity}{line.stop_bits}"
        case BroadcastDriver():
            return "advertisements, passive"
        case PulseDriver():
            return f"{driver.per_pulse:g} {driver.total.unit} a pulse, debounce {driver.debounce * 1000:g} ms"


def points(driver: Driver) -> str:
    """All points with their units, those that differ in the last part only written together."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for point in driver.points:
        stem, tail = _parts(point)
        groups.setdefault((stem, point.unit, point.kind is Kind.COUNTER), []).append(tail)
    return ", ".join(
        _group(stem, unit, counter, tails) for (stem, unit, counter), tails in groups.items()
    )


def _parts(point: Point) -> tuple[str, str]:
    stem, dot, tail = point.name.rpartition(".")
    folds = dot and ((tail[0] in "lt" and tail[1:2].isdigit()) or tail.isdigit())
    return (stem, tail) if folds else (point.name, "")


def _group(stem: str, unit: str, counter: bool, tails: list[str]) -> str:
    named = [tail for tail in tails if tail]
    shown = f"{stem}.{{{','.join(named)}}}" if named else stem
    whole = f"`{stem}` " if named and "" in tails else ""
    unit_shown = "" if unit in ("", "/") else f" {unit}"
    return f"{whole}`{shown}`{unit_shown}{' ↑' if counter else ''}"


def section(title: str, drivers: list[Driver]) -> Iterator[str]:
    """One kind of driver: a short list of models, then a paragraph for each."""
    yield f"## {title}\n"
    for driver in drivers:
        about = driver.documentation
        yield f"### {driver.model}\n"
        yield f"{', '.join(about.products)}. {connection(driver)}.\n"
        yield f"Points: {points(driver)}.\n"
        for caveat in about.caveats:
            yield f"- {caveat}"
        if about.caveats:
            yield ""
        yield f"Source: {about.source}.\n"


def catalogue(library: Library = LIBRARY) -> str:
    """The whole page."""
    drivers = [library[model] for model in library.models()]
    lines = [_HEAD, f"{len(drivers)} models.\n"]
    for kind, title in _KINDS.items():
        lines += section(title, [driver for driver in drivers if isinstance(driver, kind)])
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(catalogue(), end="")
