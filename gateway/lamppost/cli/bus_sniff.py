"""`lamppost bus sniff`: listens, and shows what is said while we are silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import say, wrapped
from lamppost.clock import SystemClock
from lamppost.config.schema import LinkSettings
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.wire import frames, mbus
from lamppost.diagnosis.wire.line import Heard, text_of
from lamppost.links.serial import LineSettings

_KINDS = ("modbus-rtu", "serial", "mbus", "mbus-tcp")
_OTHERWISE = {
    "modbus-tcp": "a Modbus/TCP server speaks only when asked; count its answers: lamppost bus soak --link {link}",
    "i2c": "we are its only master, so there is nothing to overhear; ask: lamppost bus probe --link {link}",
    "ble": "what is on the air: lamppost bus probe --link {link}",
    "gpio": "what the pins do: lamppost bus probe --link {link}",
}
_PIECE = 0.25
_LEASE = 110.0


def listen(
    socket: Path, state: Path, site: Path, links: tuple[str, ...], seconds: float, *, ndjson: bool
) -> None:
    """Listen to one link. Raises click.UsageError where it is not clear which."""
    import click

    found = reach(socket, state, site, "lamppost bus sniff", min(seconds + 10, _LEASE))
    chosen = found.links(links, _KINDS, _OTHERWISE)
    if len(chosen) != 1:
        names = ", ".join(link.name for link in chosen) or "none"
        raise click.UsageError(f"name one link with --link: {names}")
    if found.status and seconds > _LEASE - 10:
        raise click.UsageError("the daemon lends a bus for 2 minutes at most: --for 100s")
    heard = asyncio.run(_listen(found, chosen[0], seconds, ndjson=ndjson))
    if not ndjson:
        said = f"{heard} bytes in {seconds:g} s on {chosen[0].name}"
        say(f"OK {said}" if heard else f"OK silence: {said}")


async def _listen(found: Reach, link: LinkSettings, seconds: float, *, ndjson: bool) -> int:
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    line = line_of(link, drivers)
    clock, count = SystemClock(), 0
    async with found.access.raw(link) as raw:
        await raw.use(line)
        if not ndjson:
            at = line_text(link, line)
            via(f"{found.via}, {link.name}{at and f' at {at}'}, listening {seconds:g} s")
        began = clock.monotonic()
        while (now := clock.monotonic() - began) < seconds:
            heard = await raw.exchange(b"", min(_PIECE, seconds - now), 0.02, 4000)
            if heard.data:
                count += len(heard.data)
                _print(link, now, heard, line, ndjson=ndjson)
    return count


def _print(
    link: LinkSettings, at: float, heard: Heard, line: LineSettings, *, ndjson: bool
) -> None:
    is_mbus = link.kind.startswith("mbus")
    found = mbus.frames(heard.data) if is_mbus else list(frames.split(heard.data).frames)
    if ndjson:
        import orjson

        row = {
            "schema": "lamppost.bus-sniff/1",
            "link": link.name,
            "at": round(at, 3),
            "line": line_text(link, line),
            "hex": heard.data.hex(),
            "frames": [f.hex() for f in found],
        }
        say(orjson.dumps(row).decode())
        return
    said = ", ".join((_named_mbus if is_mbus else _named)(f) for f in found)
    shown = heard.data[:48].hex(" ") + (" ..." if len(heard.data) > 48 else "")
    for text in wrapped(f"{shown}{'  = ' + said if said else ''}", f"{at:7.2f} s  "):
        say(text)


def line_text(link: LinkSettings, line: LineSettings) -> str:
    """The line settings; empty where a converter keeps them to itself."""
    return "" if link.kind.endswith("-tcp") else text_of(line)


def _named_mbus(frame: bytes) -> str:
    """EN 13757-2, clause 5.7: the control field tells the two sides apart by its bit 6."""
    if len(frame) == 1:
        return "a meter acknowledges"
    control, address = (frame[1], frame[2]) if len(frame) == 5 else (frame[4], frame[5])
    side = "request to" if control & 0x40 else "answer of"
    return f"{side} meter {address}: control {control:02x}, {len(frame)} bytes"


def _named(frame: bytes) -> str:
    if frame[1] & 0x80:
        return f"unit {frame[0]} refuses, exception {frame[2]}"
    if frames.is_request(frame):
        start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
        return f"request to unit {frame[0]}: function {frame[1]}, {count} from {start}"
    return f"answer of unit {frame[0]}, {frame[2]} bytes"
