"""`lamppost bus raw`: one request in hex, and what came back. What could change a device is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import say, wrapped
from lamppost.config.schema import LinkSettings
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.wire import frames
from lamppost.diagnosis.wire.line import Heard
from lamppost.errors import LinkError
from lamppost.status.lending import only_reads, would_write

_KINDS = ("modbus-rtu", "modbus-tcp", "mbus", "mbus-tcp", "serial")
_OTHERWISE = {
    "i2c": "what its devices take is not told apart from writing; ask: lamppost bus probe --link {link}",
    "ble": "nothing is sent to devices that only advertise; see: lamppost bus probe --link {link}",
    "gpio": "a pulse input takes no bytes; see: lamppost bus probe --link {link}",
}
_QUIET, _QUIET_NETWORK = 0.06, 0.3
"""Seconds of silence that end an answer; a network hands it over in pieces."""


def send(
    socket: Path,
    state: Path,
    site: Path,
    name: str,
    data: bytes,
    wait: float,
    *,
    crc: bool,
    as_json: bool,
) -> None:
    """Send once. Raises LinkError `link.read-only`, `link.no-answer`."""
    found = reach(socket, state, site, "lamppost bus raw")
    (link,) = found.links((name,), _KINDS, _OTHERWISE)
    if crc or link.kind == "modbus-tcp":
        data += frames.crc(data)
    if not only_reads(link.kind, data):
        raise would_write(link.kind)
    heard = asyncio.run(_send(found, link, data, wait))
    if as_json:
        import orjson

        row = {
            "schema": "lamppost.bus-raw/1",
            "via": found.via,
            "link": name,
            "sent": data.hex(),
            "heard": heard.data.hex(),
            "ms": round(heard.first * 1000, 1),
        }
        say(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())
    else:
        via(found.via)
        for label, shown in (("sent   ", data), ("heard  ", heard.data)):
            for line in wrapped(shown.hex(" ") or "nothing", label):
                say(line)
    if not heard.data:
        raise LinkError(
            f"{name}: no byte within {wait:g} s",
            code="link.no-answer",
            hint=f"lamppost bus probe --link {name}",
            retry=True,
        )
    if not as_json:
        say(f"OK {len(heard.data)} bytes after {heard.first * 1000:.0f} ms")


async def _send(found: Reach, link: LinkSettings, data: bytes, wait: float) -> Heard:
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    async with found.access.raw(link) as raw:
        await raw.use(line_of(link, drivers))
        quiet = _QUIET_NETWORK if link.kind == "mbus-tcp" else _QUIET
        return await raw.exchange(data, wait, quiet)
