"""Captured registers of SMA devices that are no measurements: a WebBox's list of devices, and values for "none"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from lamppost.cli.captured_row import Decoded, Refused, Row
from lamppost_drivers.contract import Driver, Point, Register
from lamppost_drivers.electricity import sma
from lamppost_drivers.registermap import decode, words_of

Find = Callable[[str], Driver]
Blocks = Mapping[int, Sequence[int]]


def dump(row: Row, find: Find, read: Callable[[Row], Blocks]) -> Decoded | None:
    """Rows that name a WebBox or the types themselves; None hands the row on. `read` gives a row's registers."""
    del find
    model = str(row.get("model")).lower()
    if model.startswith("sma webbox"):
        return Decoded((), {}, webbox(read(row)))
    if model == "sma smamodbusconstants":
        return constants(read(row))
    return None


def webbox(blocks: Blocks) -> dict[str, object]:
    """The devices behind a WebBox, by their place in its list."""
    found = [dataclasses.asdict(reference) for reference in sma.references(blocks)]
    if not found:
        raise Refused("device.no-reading", f"no list of devices from register {sma.LIST_AT} on")
    return {"devices": found}


def constants(blocks: Blocks) -> Decoded:
    """One value of each type in turn, or that there is none."""
    points, places, at = [], [], min(blocks, default=0)
    for type_, absent in sma.ABSENT.items():
        point = Point(type_, "/", -1e30, 1e30)
        width = words_of(type_)
        places.append(Register(point, at, type_, "holding", "big", width, absent=(absent,)))
        points.append(point)
        at += width
    return Decoded(tuple(points), decode(places, blocks))
