"""What the device commands say of a driver, as an object for `--json` and as lines for people."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from lamppost_drivers.catalogue import connection, status
from lamppost_drivers.contract import Driver, PulseDriver, RegisterMap

WIDTH = 80


def described(driver: Driver) -> dict[str, Any]:
    """All that a driver declares, plain."""
    about = driver.documentation
    vectors = () if isinstance(driver, PulseDriver) else driver.vectors
    return {
        "model": driver.model,
        "products": list(about.products),
        "connection": connection(driver),
        "status": status(driver),
        "points": [
            {
                "point": p.name,
                "unit": p.unit,
                "range": [p.low, p.high],
                "kind": p.kind.value,
                **_place(driver, index),
            }
            for index, p in enumerate(driver.points)
        ],
        "caveats": list(about.caveats),
        "source": about.source,
        "vectors": [vector.note for vector in vectors],
    }


def _place(driver: Driver, index: int) -> dict[str, Any]:
    if not isinstance(driver, RegisterMap) or not driver.registers:
        return {}
    register = driver.registers[index]
    return {"table": register.table, "address": register.address, "poll": register.poll}


def page(found: Mapping[str, Any]) -> Iterator[str]:
    """The object of `described` as lines of at most the terminal's width, 80 where it has none."""
    yield from wrapped(", ".join(found["products"]), f"{found['model']}: ")
    yield from wrapped(found["connection"], "factory  ")
    yield from wrapped(f"proved by {found['status']}", "status   ")
    yield "points"
    width = max((len(p["point"]) for p in found["points"]), default=0)
    for point in found["points"]:
        low, high = point["range"]
        place = f"  {point['table']} {point['address']}" if "address" in point else ""
        counter = " counter" if point["kind"] == "counter" else ""
        line = f"  {point['point']:{width}}  {point['unit']:5} {low:g} to {high:g}{counter}{place}"
        yield line[: columns()]
    for caveat in found["caveats"]:
        yield from wrapped(caveat, "beware   ")
    yield from wrapped(found["source"], "source   ")
    for note in found["vectors"]:
        yield from wrapped(note, "vector   ")


def columns() -> int:
    """Columns to fill: at most 80, at least 40."""
    return max(40, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns or WIDTH))


def wrapped(text: str, label: str) -> list[str]:
    """Text after a label, folded."""
    return textwrap.wrap(
        text, columns(), initial_indent=label, subsequent_indent=" " * min(len(label), 9)
    ) or [label.rstrip()]
