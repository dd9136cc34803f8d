"""`lamppost sensors list` and `info`: what the site and the drivers know of devices, with the daemon's word on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import many, paint, say, span, width, wrapped


def show_list(socket: Path, state: Path, site: Path, *, as_json: bool) -> None:
    """Exit 1 where a device is not well."""
    found = reach(socket, state, site, "lamppost sensors list")
    rows = [_row(found, d.name, d.model, d.link, d.unit) for d in found.site.device]
    bad = [row for row in rows if row["state"] in ("suspect", "dead")]
    closing = f"OK {many(len(rows), 'device')}"
    if bad:
        closing = f"PROBLEM {len(bad)} of {len(rows)} devices, first {bad[0]['name']}"
        closing += f"; type: lamppost sensors test {bad[0]['name']}"
    elif found.status is None:
        closing += ", none asked: the gateway program does not run"
    if as_json:
        answer = {"schema": "lamppost.sensors-list/1", "via": found.via, "devices": rows}
        say(orjson.dumps({**answer, "verdict": closing}, option=orjson.OPT_INDENT_2).decode())
    else:
        via(found.via)
        name = max(len(row["name"]) for row in rows)
        for row in sorted(rows, key=lambda r: r["state"] == "ok"):
            say(_line(row, name))
        say(paint(closing, "bad" if bad else "good"))
    if bad:
        raise SystemExit(1)


def _row(found: Reach, name: str, model: str, link: str, unit: int | None) -> dict[str, Any]:
    told = _told(found, name)
    return {
        "name": name,
        "model": model,
        "on": link if unit is None else f"{link}/{unit}",
        "state": told.get("state", "unknown"),
        "reason": told.get("reason", ""),
        "since_seconds": told.get("since_seconds_ago", 0),
        "age_seconds": told.get("at_seconds_ago"),
    }


def _told(found: Reach, name: str) -> dict[str, Any]:
    """What the daemon says of a device; empty without one."""
    devices: list[dict[str, Any]] = (found.status or {}).get("devices", [])
    return next((d for d in devices if d["name"] == name), {})


def _line(row: dict[str, Any], name: int) -> str:
    said = row["state"]
    if row["state"] == "ok" and row["age_seconds"] is not None:
        said += f", read {span(row['age_seconds'])} ago"
    elif row["state"] in ("suspect", "dead"):
        said += f" {span(row['since_seconds'])}: {row['reason']}"
    where = f"  {row['on']:12.12}  {row['model']:14.14}" if width() >= 72 else ""
    line = f"{row['name']:{name}}{where}  {said}"[: width()]
    return paint(line, "bad") if row["state"] in ("suspect", "dead") else line


def show_info(socket: Path, state: Path, site: Path, name: str, *, as_json: bool) -> None:
    """Settings, model and points of one device."""
    from lamppost_drivers.catalogue import connection

    found = reach(socket, state, site, "lamppost sensors info")
    device = found.device(name)
    driver = found.registry.find(device.model)
    about = driver.documentation
    told = _told(found, device.name)
    settings = device.model_dump(exclude_defaults=True, mode="json")
    points = [
        {"name": p.name, "unit": p.unit, "low": p.low, "high": p.high, "kind": p.kind.value}
        for p in driver.points
        if not device.points or p.name in device.points
    ]
    if as_json:
        answer = {
            "schema": "lamppost.sensors-info/1",
            "via": found.via,
            "settings": settings,
            "products": list(about.products),
            "connection": connection(driver),
            "caveats": list(about.caveats),
            "points": points,
            "counts": told.get("counts"),
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return
    via(found.via)
    for label, text in (
        ("device   ", f"{device.name} on {device.link}"),
        (
            "settings ",
            ", ".join(f"{k} {v}" for k, v in settings.items() if k not in ("name", "link")),
        ),
        ("model    ", f"{device.model}: {', '.join(about.products)}"),
        ("leaves   ", f"the factory with {connection(driver)}"),
        ("source   ", about.source),
        *(("beware   ", caveat) for caveat in about.caveats),
        *(
            [("counts   ", ", ".join(f"{k} {v}" for k, v in told["counts"].items()))]
            if told
            else []
        ),
        ("points   ", ", ".join(f"{p['name']} {p['unit']}".strip() for p in points)),
    ):
        for line in wrapped(text, label):
            say(line)
    say(f"OK {len(points)} points; type: lamppost sensors read {device.name}")
