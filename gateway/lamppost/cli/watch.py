"""`lamppost watch`: a live table with sparklines, as sparing as the line it is shown on.

Only what changed is sent, by cursor addressing that every terminal since the VT100 knows; on a serial line no more
than half of what it carries. A dumb terminal gets a new table every few seconds.
"""

from __future__ import annotations

import sys
import termios
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from lamppost.cli.main import socket_option
from lamppost.cli.terminal import is_live, plain, say, span, width

_BARS = "▁▂▃▄▅▆▇█"
_BAUDS = {
    getattr(termios, f"B{baud}"): baud for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)
}
_SHARE = 0.5
_HISTORY = 24
_MAIN = ("voltage", "power", "current", "frequency", "energy", "temperature", "humidity", "co2")


@click.command()
@click.argument("devices", nargs=-1)
@socket_option
@click.option("--every", default="1s", show_default=True, help="how often to look")
@click.option("--count", "-n", type=click.IntRange(1), help="end after so many looks")
@click.option("--ndjson", is_flag=True, help="one object a look, schema lamppost.watch/1")
def command(
    devices: tuple[str, ...], socket: Path, every: str, count: int | None, ndjson: bool
) -> None:
    """Newest values of all devices, or of all points of the DEVICES named. Ctrl-C ends it."""
    from lamppost.cli.bus import seconds_of

    pace = max(0.2, seconds_of(every))
    watch = Watch(socket, devices)
    if ndjson:
        watch.stream(pace, count)
    elif is_live(sys.stdout):
        watch.live(pace, count)
    else:
        watch.tables(pace, count)


class Watch:
    """Asks the daemon again and again, and remembers what the sparklines need."""

    def __init__(self, socket: Path, devices: tuple[str, ...]) -> None:
        self._socket = socket
        self._devices = devices
        self._history: dict[tuple[str, str], deque[float]] = {}
        found = self._look()
        known = [d["name"] for d in found["devices"]]
        for name in devices:
            if name not in known:
                raise click.UsageError(f"no device {name!r}: {', '.join(known)}")

    def live(self, pace: float, count: int | None) -> None:
        """Draw over and over on one screen."""
        screen = Screen(speed_of(sys.stdout.fileno()))
        try:
            for _ in self._beats(pace, count, screen):
                rows = list(table(self._look(), self._devices, self._history))
                screen.draw(rows)
        finally:
            screen.close()

    def tables(self, pace: float, count: int | None) -> None:
        """One table after another, for terminals that cannot move their cursor."""
        for turn in self._beats(pace, count, None):
            if turn:
                say()
            for row in table(self._look(), self._devices, self._history):
                say(row)

    def stream(self, pace: float, count: int | None) -> None:
        """JSON lines."""
        import orjson

        for _ in self._beats(pace, count, None):
            found = self._look()
            row = {
                "schema": "lamppost.watch/1",
                "gateway": found["gateway"],
                "devices": [
                    {"name": d["name"], "state": d["state"], "readings": d["readings"]}
                    for d in found["devices"]
                    if not self._devices or d["name"] in self._devices
                ],
            }
            say(orjson.dumps(row).decode())
            sys.stdout.flush()

    def _beats(self, pace: float, count: int | None, screen: Screen | None) -> Iterator[int]:
        import asyncio

        from lamppost.clock import SystemClock

        clock = SystemClock()
        turn = 0
        while count is None or turn < count:
            due = clock.monotonic() + pace
            yield turn
            turn += 1
            if screen is not None:
                due += screen.owed(pace)
            if count is None or turn < count:
                asyncio.run(clock.sleep_until(due))

    def _look(self) -> dict[str, Any]:
        from lamppost.status.control import ask

        found = ask(self._socket, {"do": "status"})
        for device in found["devices"]:
            for point, reading in device["readings"].items():
                value = reading["value"]
                if isinstance(value, int | float) and not isinstance(value, bool):
                    kept = self._history.setdefault((device["name"], point), deque(maxlen=_HISTORY))
                    kept.append(float(value))
        return found


def speed_of(descriptor: int) -> int | None:
    """Bits a second of a serial terminal; None for all that is no serial line, or faster than it matters."""
    try:
        import os

        name = os.ttyname(descriptor)
        speed: int = termios.tcgetattr(descriptor)[5]
    except (OSError, termios.error):
        return None
    return (
        _BAUDS.get(speed) if name.startswith(("/dev/ttyS", "/dev/ttyAMA", "/dev/ttyUSB")) else None
    )


class Screen:
    """Lines on a terminal; sends only the parts of lines that changed."""

    def __init__(self, baud: int | None = None, out: Any = None) -> None:
        self._out = out or sys.stdout
        self._shown: list[str] = []
        self._rate = baud / 10 * _SHARE if baud else None
        self.sent = 0
        self._last = 0
        self._write("\x1b[2J")

    def draw(self, rows: list[str]) -> None:
        """Show these lines from the top."""
        for at, row in enumerate(rows):
            old = self._shown[at] if at < len(self._shown) else None
            if row != old:
                self._change(at, old or "", row)
        for at in range(len(rows), len(self._shown)):
            self._write(f"\x1b[{at + 1};1H\x1b[K")
        self._shown = rows
        self._write(f"\x1b[{len(rows) + 1};1H")
        self._out.flush()

    def owed(self, pace: float) -> float:
        """Seconds to wait beyond `pace` so that the line keeps up with what was sent last."""
        sent, self._last = self._last, 0
        return max(0.0, sent / self._rate - pace) if self._rate else 0.0

    def close(self) -> None:
        """Leave the cursor below."""
        self._out.flush()

    def _change(self, at: int, old: str, new: str) -> None:
        first = 0
        while first < min(len(old), len(new)) and old[first] == new[first]:
            first += 1
        last = len(new)
        if len(old) == len(new):
            while last > first and old[last - 1] == new[last - 1]:
                last -= 1
        clear = "\x1b[K" if len(new) < len(old) else ""
        self._write(f"\x1b[{at + 1};{first + 1}H{plain(new[first:last])}{clear}")

    def _write(self, text: str) -> None:
        size = len(text.encode())
        self.sent += size
        self._last += size
        self._out.write(text)


def table(
    found: Mapping[str, Any],
    only: tuple[str, ...],
    history: Mapping[tuple[str, str], deque[float]],
) -> Iterator[str]:
    """The screen as lines of the terminal's width."""
    columns = width()
    ring, uplink = found["ring"], found["uplink"]
    yield f"{found['gateway']}  up {span(found['up_seconds'])}  clock {found['clock']}"[:columns]
    yield f"ring {ring['waiting']} waiting  uplink {uplink['state']}"[:columns]
    devices = [d for d in found["devices"] if not only or d["name"] in only]
    name = min(18, max((len(d["name"]) for d in devices), default=6))
    for device in devices:
        yield from _device(device, name, columns, history, whole=bool(only))


def _device(
    device: Mapping[str, Any],
    name: int,
    columns: int,
    history: Mapping[tuple[str, str], deque[float]],
    *,
    whole: bool,
) -> Iterator[str]:
    title = f"{device['name']:{name}.{name}}"
    if device["state"] != "ok":
        yield f"{title} {device['state']}: {device['reason']}"[:columns]
        return
    readings = device["readings"]
    points = list(readings) if whole else _chosen(readings)
    for at, point in enumerate(points):
        head = title if at == 0 else " " * name
        yield _row(head, point, readings[point], history.get((device["name"], point)), columns)


def _row(
    head: str, point: str, reading: Mapping[str, Any], past: deque[float] | None, columns: int
) -> str:
    value = reading["value"]
    shown = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    doubt = "" if reading["quality"] == "good" else f" {reading['quality']}"
    room = 22 if columns >= 72 else 14
    text = f"{head} {point:{room}.{room}} {shown:>10.10}"
    left = columns - len(text) - 1
    if doubt:
        return f"{text}{doubt}"[:columns]
    return f"{text} {spark(past or (), min(left, _HISTORY))}".rstrip()


def _chosen(readings: Mapping[str, Any]) -> list[str]:
    """Two points that say most of a device."""
    known = [p for stem in _MAIN for p in readings if p.partition(".")[0] == stem]
    return (known or list(readings))[:2]


def spark(values: Any, room: int) -> str:
    """The newest values as bars between their least and most; a value that stands still is a flat line."""
    kept = list(values)[-room:] if room > 0 else []
    if len(kept) < 2:
        return ""
    low, high = min(kept), max(kept)
    if high == low:
        return _BARS[0] * len(kept)
    return "".join(_BARS[int((v - low) / (high - low) * (len(_BARS) - 1))] for v in kept)
