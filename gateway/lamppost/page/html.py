"""Status to HTML: one file, no script, readable in sunlight and at phone width. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from lamppost.status.summary import verdict

REFRESH = 10
_SHOWN = 4
_MAIN = (
    "voltage", "power", "current", "frequency", "energy", "temperature", "humidity", "co2",
    "pm25", "pm10", "volume", "level", "flow",
)  # fmt: skip

STYLE = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:44rem;padding:0 1rem 2rem;
font:1.05rem/1.45 system-ui,sans-serif;color:#000;background:#fff}
header{margin:0 -1rem;padding:.7rem 1rem;background:#111;color:#fff}
header b{font-size:1.15rem}
header span{display:block;font-size:.9rem;color:#ddd}
.v{margin:0 -1rem 1rem;padding:.8rem 1rem;font-weight:700;font-size:1.1rem;overflow-wrap:anywhere}
.ok{background:#0a6b2d;color:#fff}.bad{background:#a80f1a;color:#fff}.wait{background:#ffd84d;color:#000}
h2{margin:1.4rem 0 .4rem;font-size:1rem;border-bottom:2px solid #000}
dl{display:grid;grid-template-columns:6.5rem 1fr;gap:.2rem .6rem;margin:0}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
article{border:2px solid #000;border-radius:.4rem;margin:.6rem 0;padding:.5rem .7rem}
article.bad{border-color:#a80f1a;background:#fff;color:#000}
h3{margin:0;font-size:1.05rem;display:flex;justify-content:space-between;gap:.6rem;flex-wrap:wrap}
h3 em{font-style:normal;padding:0 .5rem;border-radius:.3rem;white-space:nowrap}
small{color:#222;font-size:.88rem;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;margin-top:.3rem}
td{padding:.12rem 0;border-top:1px solid #bbb}td+td{text-align:right;font-variant-numeric:tabular-nums}
footer{margin-top:1.6rem;font-size:.85rem;color:#222}
""".strip()

STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

Units = Mapping[str, Mapping[str, str]]


def page(found: Mapping[str, Any], units: Units, minutes: float) -> str:
    """The whole page; `minutes` until it closes."""
    return _frame("".join(_body(found, units)), f"{found['gateway']}", minutes)


def no_daemon(message: str, hint: str, minutes: float) -> str:
    """The page where the gateway program does not answer."""
    body = (
        "<header><b>Lamppost</b><span>the gateway program does not answer</span></header>"
        f'<p class="v bad">PROBLEM {escape(message)}</p><p>{escape(hint)}</p>'
    )
    return _frame(body, "Lamppost", minutes)


def _frame(body: str, title: str, minutes: float) -> str:
    left = f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}"
        f"<footer>Reads only. New every {REFRESH} s. This page closes itself in {left}. "
        'Also: <a href="/status.json">status.json</a>, <a href="/metrics">metrics</a>.</footer>'
        "</body></html>"
    )


def _body(found: Mapping[str, Any], units: Units) -> Iterator[str]:
    hub = found["hub"] or "a context broker"
    up = _span(found["up_seconds"])
    yield f"<header><b>{escape(found['gateway'])}</b>"
    yield f"<span>to {escape(hub)}, Lamppost {escape(found['version'])}, up {up}</span></header>"
    closing = verdict(found)
    said, _, command = closing.partition("; type: ")
    yield f'<p class="v {"ok" if closing.startswith("OK") else "bad"}">{escape(said)}</p>'
    if command:
        yield f"<p>On the gateway type: <b>{escape(command)}</b></p>"
    for alert in found.get("alerts", ()):
        text = f"{alert['severity']}: {alert['rule']} ({alert['device']})"
        yield f'<p class="v wait">{escape(text)}</p>'
    yield "<h2>Gateway</h2><dl>"
    yield from _rows(found)
    yield "</dl><h2>Devices</h2>"
    for device in sorted(found["devices"], key=lambda d: d["state"] == "ok"):
        yield from _device(device, units.get(device["name"], {}))


def _rows(found: Mapping[str, Any]) -> Iterator[str]:
    ring, uplink = found["ring"], found["uplink"]
    direct = uplink.get("mode") == "direct"
    waiting = "taken by the broker; no signed receipts" if direct else "proved at the hub"
    rows = {
        "stored": f"{ring['appended']} readings",
        "waiting": f"{ring['waiting']} not yet {waiting}",
        "uplink": f"{uplink['state']}, {uplink['batches_sent']} batches sent",
        "clock": found["clock"],
    }
    if working := found.get("maintenance"):
        rows["work"] = f"{working['reason']} ({working['by']})"
    for name, text in rows.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>"


def _device(device: Mapping[str, Any], units: Mapping[str, str]) -> Iterator[str]:
    state = device["state"]
    style = "ok" if state == "ok" else "wait" if state == "waiting" else "bad"
    yield f'<article class="{"bad" if style == "bad" else ""}"><h3>{escape(device["name"])}'
    yield f'<em class="{style}">{escape(state)}</em></h3>'
    yield f"<small>{escape(device['model'])} on {escape(device['on'])}</small>"
    if state != "ok":
        fault = device.get("fault") or {}
        since = _span(device["since_seconds_ago"])
        yield f"<div>for {since}: {escape(device['reason'].replace('_', ' '))}</div>"
        if fault.get("hint"):
            yield f"<small>{escape(fault['hint'])}</small>"
    else:
        yield "<table>"
        for point in _chosen(device["readings"]):
            yield _value(point, device["readings"][point], units.get(point, ""))
        yield "</table>"
    yield "</article>"


def _value(point: str, reading: Mapping[str, Any], unit: str) -> str:
    value = reading["value"]
    shown = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    doubt = "" if reading["quality"] == "good" else f" ({reading['quality']})"
    unit = "" if unit == "/" else unit
    text = escape(f"{shown} {unit}".strip() + doubt)
    return f"<tr><td>{escape(point)}</td><td>{text}</td></tr>"


def _chosen(readings: Mapping[str, Any]) -> list[str]:
    """The points that say most: by kind, and of a kind the whole before its parts."""
    known = [p for stem in _MAIN for p in readings if p.partition(".")[0] == stem]
    known.sort(key=lambda p: (_MAIN.index(p.partition(".")[0]), "." in p))
    return (known or list(readings))[:_SHOWN]


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
