"""The device list as Markdown, made from the drivers: `python -m lamppost_drivers.catalogue`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

A *model* is what a site file names. Each model has test vectors; `lamppost device selftest` runs them on a gateway,
`lamppost device sim` lets a simulated device answer with them. Points marked ↑ are counters. How to add a device of
your own: [add a device](../how-to/add-a-device.md).

*Status* says how far a model is proved. **captures**: it decodes bytes that others recorded from real devices, with
the values that they saw. **data sheet**: its vectors are worked by hand from the maker's document. **simulated**:
there are no bytes to prove; it is tested on simulated pins.
"""
CAPTURED: Mapping[str, int] = {
    "adam-411x": 3, "bme280": 1, "bme680": 2, "dsmr": 7, "dsmr2": 1, "hpma115s0": 2, "ion6200": 1,
    "mbus-electricity": 24, "mbus-gas": 2, "mbus-heat": 20, "mbus-meter": 7, "mbus-water": 15, "mcu680": 6,
    "mh-z19b": 3, "pm3255": 1, "pms5003": 4, "pms5003t": 9, "ruuvi": 21, "sdm120": 1, "sds011": 2, "shark100": 1,
    "sma-sc-us": 1, "sma-sensorbox": 1,
}  # fmt: skip
"""How many recordings of real devices, kept outside of this repository, a model decodes rightly; a test counts them."""
CAPTURED_TOGETHER: Mapping[str, int] = {
    "sunspec-inverter": 15,
    "sunspec-meter": 15,
    "sunspec-weather": 15,
}
"""The same where recordings are counted for a family of models."""
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


def status(driver: Driver) -> str:
    """How far a driver is proved: captures, data sheet, simulated, or no vector."""
    proved = driver.model in CAPTURED or driver.model in CAPTURED_TOGETHER
    if proved and driver == LIBRARY.get(
        driver.model
    ):  # a site's own map may have the name of one of ours
        return "captures"
    if isinstance(driver, PulseDriver):
        return "simulated"
    return "data sheet" if driver.vectors else "no vector"


def evidence(driver: Driver) -> str:
    """Status and vectors in a sentence."""
    vectors = () if isinstance(driver, PulseDriver) else driver.vectors
    refused = sum(vector.expect is None for vector in vectors)
    said = f"Status: {status(driver)}"
    if driver.model in CAPTURED:
        said += f" ({CAPTURED[driver.model]})"
    elif driver.model in CAPTURED_TOGETHER:
        said += f" ({CAPTURED_TOGETHER[driver.model]} of the family)"
    if not vectors:
        return said
    said += f"; {len(vectors)} vector{'s' * (len(vectors) > 1)}"
    return f"{said}, {refused} to be refused" if refused else said


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
        yield f"{evidence(driver)}. Source: {about.source}.\n"


def catalogue(library: Library = LIBRARY) -> str:
    """The whole page."""
    drivers = [library[model] for model in library.models()]
    lines = [_HEAD, *_counts(drivers)]
    for kind, title in _KINDS.items():
        lines += section(title, [driver for driver in drivers if isinstance(driver, kind)])
    return "\n".join(lines).rstrip() + "\n"


def _counts(drivers: list[Driver]) -> Iterator[str]:
    """A table: how many models of each kind, by status."""
    words = ("captures", "data sheet", "simulated")
    yield f"| {len(drivers)} models | {' | '.join(words)} |"
    yield "|---" * 4 + "|"
    for kind, title in _KINDS.items():
        found = [status(driver) for driver in drivers if isinstance(driver, kind)]
        yield f"| {title}: {len(found)} | {' | '.join(str(found.count(word)) for word in words)} |"
    yield ""


if __name__ == "__main__":
    print(catalogue(), end="")
