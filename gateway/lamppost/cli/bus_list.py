"""`lamppost bus list`: what is connected where, by the site file, the daemon and this machine's ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import many, paint, say, span, wrapped
from lamppost.config.schema import LinkSettings
from lamppost.diagnosis.examine import line_of, where_of
from lamppost.diagnosis.gather import machine
from lamppost.diagnosis.wire.line import text_of
from lamppost.links import holder

_SERIAL = ("serial", "modbus-rtu", "mbus")
_WELL = ("ok", "waiting")


def show(socket: Path, state: Path, site: Path, *, as_json: bool) -> None:
    """Print all links, then the ports that no link uses. Exit 1 where a link is not well."""
    found = reach(socket, state, site, "lamppost bus list")
    rows = [_row(found, link) for link in found.site.link]
    used = {str(Path(row["where"]).resolve()) for row in rows}
    free = [p for p in machine.ports() if p.node not in used]
    bad = [row for row in rows if row["state"] not in _WELL]
    closing = (
        f"PROBLEM {bad[0]['code'] or 'link ' + bad[0]['state']} {bad[0]['link']}; type: lamppost doctor bus"
        if bad
        else f"OK {many(len(rows), 'link')}, {many(sum(len(r['devices']) for r in rows), 'device')}"
    )
    if as_json:
        import orjson
        from msgspec import to_builtins

        answer = {
            "schema": "lamppost.bus-list/1",
            "via": found.via,
            "links": rows,
            "unused_ports": to_builtins(free),
            "verdict": closing,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        via(found.via)
        for row in rows:
            _print(row)
        for port in free:
            use = port.use or (f"held by {port.holder}" if port.holder else "no link uses it")
            for line in wrapped(f"{port.name}: {use}", "port  "):
                say(line)
        say(paint(closing, "bad" if bad else "good"))
    if bad:
        raise SystemExit(1)


def _row(found: Reach, link: LinkSettings) -> dict[str, Any]:
    devices = [d for d in found.site.device if d.link == link.name]
    drivers = [found.registry.find(d.model) for d in devices]
    buses = (found.status or {}).get("buses", ())
    bus: dict[str, Any] = next((b for b in buses if b["name"] == link.name), {})
    fault = bus.get("fault") or {}
    where = where_of(link)
    state = bus.get("state", "") or _direct_state(link.kind, where)
    return {
        "link": link.name,
        "kind": link.kind,
        "where": where,
        "line": text_of(line_of(link, drivers)) if link.kind in _SERIAL else "",
        "state": state,
        "since_seconds": bus.get("since_seconds_ago", 0),
        "leased": bool(bus.get("leased")),
        "code": fault.get("code", ""),
        "holder": "" if found.status else holder.holder_of(Path(where)),
        "devices": [d.name if d.unit is None else f"{d.name} ({d.unit})" for d in devices],
    }


def _direct_state(kind: str, where: str) -> str:
    """Without a daemon: whether the port is there and free."""
    if kind not in (*_SERIAL, "i2c"):  # over a network or by radio: nothing to see without asking
        return "waiting"
    path = Path(where)
    if not path.exists():
        return "missing"
    return "held" if kind in _SERIAL and holder.holder_of(path) else "ok"


def _print(row: dict[str, Any]) -> None:
    said = row["state"]
    if row["leased"]:
        said += ", lent to a technician"
    if row["state"] not in _WELL and row["since_seconds"]:
        said += f" for {span(row['since_seconds'])}"
    if row["code"]:
        said += f" ({row['code']})"
    if row["holder"]:
        said += f", held by {row['holder']}"
    say(paint(f"{row['link']}  {row['kind']} {row['line']}".rstrip(), "bold"))
    for line in wrapped(row["where"], indent=2):
        say(line)
    say(f"  {said}")
    for line in wrapped(", ".join(row["devices"]) or "no device", indent=2):
        say(line)
