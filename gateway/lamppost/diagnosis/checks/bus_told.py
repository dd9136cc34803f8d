"""A link that was not examined, by what the daemon counted: less sure, but there at once, and in every bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lamppost.diagnosis.checks import bus_port
from lamppost.diagnosis.facts import Line, Port
from lamppost.findings import Finding, found

_OPENED_OFTEN = 4
_SHARE = 0.02
_LEAST = 50
_WELL = ("ok", "waiting")
_MBUS = ("mbus", "mbus-tcp")
_NO_PORT = ("modbus-tcp", "mbus-tcp", "ble", "gpio")
_ALONE = ("ble", "gpio")
"""Kinds on which devices share no wire: that all are silent says nothing of the link."""


def check(
    bus: dict[str, Any], devices: Sequence[dict[str, Any]], ports: Sequence[Port]
) -> Iterator[Finding]:
    """Port, whole line, then single devices."""
    fault = bus.get("fault") or {}
    hangs = fault.get("code") == "link.lost" and "not one byte" in fault.get("why", "")
    if bus["state"] not in _WELL and fault.get("code") and not bus.get("leased") and not hangs:
        yield from bus_port.check(_line(bus, fault), ports)
        return
    if bus.get("opened", 0) >= _OPENED_OFTEN and bus["kind"] not in _NO_PORT:
        yield found("bus.port-lost", bus["name"], where=bus["where"], opened=bus["opened"])
    tried = [d for d in devices if d["state"] != "waiting"]
    silent = [
        d for d in tried if _code(d) == "link.no-answer" and d["state"] in ("dead", "suspect")
    ]
    well = [d for d in tried if d["state"] == "ok"]
    if silent and len(silent) == len(tried) and bus["kind"] in _MBUS:
        yield found(
            "bus.mbus-silent",
            bus["name"],
            link=bus["name"],
            silent=len(silent),
            units=len(tried),
            settings="",
        )
        return
    if len(silent) > 1 and not well and len(silent) == len(tried) and bus["kind"] not in _ALONE:
        yield found(
            "bus.line-silent",
            bus["name"],
            link=bus["name"],
            silent=len(silent),
            units=len(tried),
            settings=1,
        )
        return
    for device in tried:
        yield from _device(bus, device, well)


def _line(bus: dict[str, Any], fault: dict[str, Any]) -> Line:
    holder = str(fault["why"]).partition(" held by ")[2]
    return Line(
        link=bus["name"],
        kind=bus["kind"],
        where=bus["where"],
        code=fault["code"],
        why=fault["why"],
        holder=holder,
    )


def _code(device: dict[str, Any]) -> str:
    return str((device.get("fault") or {}).get("code", ""))


def _device(
    bus: dict[str, Any], device: dict[str, Any], well: Sequence[dict[str, Any]]
) -> Iterator[Finding]:
    name, code, why = device["name"], _code(device), (device.get("fault") or {}).get("why", "")
    if device["state"] == "ok":
        yield from _shares(bus, device)
        return
    if code == "link.no-answer":
        yield _silent(bus, device, well)
    elif code == "link.corrupt" and "our own request" in why:
        yield found("bus.echo", bus["name"], device=name, count=1, tries=1)
    elif code == "link.corrupt" and bus["kind"] == "ble":
        count = (device.get("counts") or {}).get("corrupt", 0)
        model = device.get("model", "?")
        yield found("sensors.not-readable", name, device=name, model=model, count=count)
    elif code == "link.busy" and bus["kind"] == "gpio":
        yield found("bus.pin-busy", name, where=why.partition(":")[0].replace(" ", ""), why=why)
    elif code == "link.corrupt":
        yield _corrupt(bus, device, well)
    elif code == "link.refused":
        yield found(
            "bus.model-suspect",
            name,
            link=bus["name"],
            device=name,
            model=device.get("model", "?"),
            proof=why,
        )
    elif code == "link.stuck":
        yield found("bus.i2c-stuck", bus["name"], where=bus["where"])
    elif code == "link.no-key":
        yield found("sensors.no-key", name, device=name, why=why)


def _silent(bus: dict[str, Any], device: dict[str, Any], well: Sequence[dict[str, Any]]) -> Finding:
    name, kind = device["name"], bus["kind"]
    tries = (device.get("counts") or {}).get("timeouts", 0)
    seconds = f"{device.get('since_seconds_ago', 0):.0f}"
    neighbours = ", ".join(d["name"] for d in well[:3])
    if kind == "ble":
        address = str((device.get("fault") or {}).get("why", "")).partition(":")[0]
        address = str((device.get("fault") or {}).get("why", ""))[:17] or address
        return found("sensors.not-heard", name, device=name, address=address, seconds=seconds)
    if kind == "serial":
        return found(
            "sensors.stream-silent", name, device=name, seconds=seconds, period="few seconds"
        )
    if kind == "i2c" and neighbours:
        return found(
            "bus.i2c-nack",
            name,
            link=bus["name"],
            device=name,
            address="its address",
            neighbours=neighbours,
        )
    if neighbours and kind in _MBUS:
        return found(
            "bus.meter-silent",
            name,
            device=name,
            link=bus["name"],
            tries=tries,
            settings="",
            neighbours=neighbours,
        )
    if neighbours:
        return found(
            "bus.silent-unit", name, device=name, tries=tries, settings=1, neighbours=neighbours
        )
    return found("bus.only-unit-silent", name, device=name, tries=tries, settings=1)


def _corrupt(
    bus: dict[str, Any], device: dict[str, Any], well: Sequence[dict[str, Any]]
) -> Finding:
    counts = device.get("counts") or {}
    if well and all(_is_clean(neighbour) for neighbour in well):
        return found(
            "bus.duplicate-suspect",
            device["name"],
            device=device["name"],
            unit=device.get("unit"),
            damaged=counts.get("corrupt", 0),
            tries=counts.get("polls", 0),
        )
    return found(
        "bus.noisy-line",
        bus["name"],
        damaged=counts.get("corrupt", 0),
        tries=counts.get("polls", 0),
        growth="",
        stray="",
    )


def _is_clean(device: dict[str, Any]) -> bool:
    counts = device.get("counts") or {}
    return bool(counts.get("corrupt", 0) <= _SHARE * counts.get("polls", 0))


def _shares(bus: dict[str, Any], device: dict[str, Any]) -> Iterator[Finding]:
    counts = device.get("counts") or {}
    polls = counts.get("polls", 0)
    if polls < _LEAST:
        return
    if counts.get("corrupt", 0) > _SHARE * polls:
        yield found(
            "bus.noisy-line",
            bus["name"],
            damaged=counts["corrupt"],
            tries=polls,
            growth="",
            stray=f", and {bus['stray']} stray bytes" if bus.get("stray") else "",
        )
    elif counts.get("timeouts", 0) > _SHARE * polls:
        yield found(
            "bus.flaky-unit",
            device["name"],
            device=device["name"],
            good=counts.get("ok", 0),
            tries=polls,
            others="more often",
        )
