"""`lamppost bus scan`: who is on a Modbus line or an M-Bus, beside what the site file says; and a site file with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import click

from lamppost.cli import bus_scan_mbus
from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import Progress, note, paint, say, wrapped
from lamppost.config.schema import DeviceSettings, LinkSettings, MbusLink, MbusTcpLink
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.wire.mbus import patience
from lamppost.diagnosis.wire.mbus_scan import MeterFound
from lamppost.diagnosis.wire.orders import NAMES
from lamppost.diagnosis.wire.scan import SILENCE, Resident, Scan
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import RegisterMap

Found: TypeAlias = Resident | MeterFound
MBUS_BAUD = 2400

_KINDS = ("modbus-rtu", "modbus-tcp", "mbus", "mbus-tcp")
_OTHERWISE = {
    "serial": "its one sensor has no address; ask it: lamppost bus probe --link {link}",
    "i2c": "only addresses of the site file are touched, for some devices take a read for a command; "
    "ask those: lamppost bus probe --link {link}; look at all: i2cdetect",
    "ble": "who is on the air: bluetoothctl scan le",
    "gpio": "pins have no names to find; see what they do: lamppost bus probe --link {link}",
}
_LOAN = 115.0


def show(
    socket: Path,
    state: Path,
    site: Path,
    links: tuple[str, ...],
    first: int | None,
    last: int | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Scan, print, and write the file asked for. Exit 6 where nobody answers."""
    if first is not None and last is not None and last < first:
        raise click.UsageError("--to is smaller than --from")
    found = reach(socket, state, site, "lamppost bus scan", _LOAN)
    chosen = found.links(links, _KINDS, _OTHERWISE)
    if not chosen:
        raise click.UsageError("this site has no Modbus or M-Bus link; try: lamppost bus probe")
    progress = Progress(quiet=as_json)
    if not as_json:
        via(found.via)
    rows: dict[str, list[Found]] = {}
    for link in chosen:
        asked = _range(link, first, last)
        seconds = len(asked) * _pace(link)
        if seconds > 10 and not as_json:
            note(f"{link.name}: asking {len(asked)} addresses, up to {seconds:.0f} s")
        rows[link.name] = asyncio.run(_scan(found, link, asked, progress, quiet=as_json))
        progress.clear()
    if out is not None:
        _write(out, site, found, rows)
    _finish(found, rows, out, as_json=as_json)


def _range(link: LinkSettings, first: int | None, last: int | None) -> range:
    """Unit ids 1 to 247 (Modbus), primary addresses 0 to 250 (M-Bus), as far as they were asked for."""
    least, most = (0, 250) if isinstance(link, MbusLink | MbusTcpLink) else (1, 247)
    return range(
        max(least, least if first is None else first), min(most, most if last is None else last) + 1
    )


def _pace(link: LinkSettings) -> float:
    """Seconds that an address takes where nobody answers."""
    if isinstance(link, MbusLink | MbusTcpLink):
        how = LineSettings(getattr(link, "baud", None) or MBUS_BAUD)
        return patience(how, link.timeout if isinstance(link, MbusTcpLink) else None)
    return SILENCE + 0.01


async def _scan(
    found: Reach, link: LinkSettings, units: range, progress: Progress, *, quiet: bool
) -> list[Found]:
    def shown(each: Found) -> None:
        progress.clear()
        if not quiet:
            for line in _lines(found, link.name, each):
                say(line)

    if isinstance(link, MbusLink | MbusTcpLink):
        return [*await bus_scan_mbus.scan(found, link, units, progress, shown)]
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    all_models = [found.registry.find(model) for model in found.registry.models()]
    maps = [d for d in all_models if isinstance(d, RegisterMap) and d.registers]
    configured = [d.unit for d in found.site.device if d.link == link.name and d.unit in units]
    order = [u for u in configured if u is not None] + [u for u in units if u not in configured]

    async with found.access.raw(link) as raw:
        scan = Scan(raw, line_of(link, drivers), getattr(link, "timeout", 0.3), maps, progress)
        return [*await scan.run(order, shown)]


def _configured(found: Reach, link: str, each: Found) -> DeviceSettings | None:
    if isinstance(each, MeterFound):
        return bus_scan_mbus.configured(found, link, each)
    return next((d for d in found.site.device if d.link == link and d.unit == each.unit), None)


def _lines(found: Reach, link: str, resident: Found) -> list[str]:
    if isinstance(resident, MeterFound):
        return bus_scan_mbus.lines(found, link, resident)
    device = _configured(found, link, resident)
    as_what = f"configured as {device.name} ({device.model})" if device else "not configured"
    said = [paint(f"{link}/{resident.unit}  {_model(resident)}", "bold")]
    details = [as_what]
    if resident.told:
        details.append(f"{resident.told}, word order {NAMES[resident.order]}")
    if resident.serial is not None:
        details.append(f"serial number {resident.serial}")
    if resident.doubled:
        details.append("two units answer at this id")
    for detail in details:
        said += wrapped(detail, indent=2)
    if device and resident.proved and resident.proved != device.model:
        said += wrapped(
            f"not the model of the site file: lamppost bus probe {device.name}", indent=2
        )
    return said


def _model(resident: Resident) -> str:
    if resident.proved:
        return f"is {resident.proved}"
    if resident.fits:
        more = f" or {len(resident.fits) - 1} more" if len(resident.fits) > 1 else ""
        return f"fits {resident.fits[0]}{more}"
    return "an unknown model"


def _finish(found: Reach, rows: dict[str, list[Found]], out: Path | None, *, as_json: bool) -> None:
    count = sum(len(each) for each in rows.values())
    new = [
        (link, r)
        for link, residents in rows.items()
        for r in residents
        if _configured(found, link, r) is None
    ]
    closing = f"OK {count} units answer, {len(new)} of them not in the site file"
    if out is not None:
        closing += f"; type: lamppost config check {out}"
    if not count:
        closing = f"PROBLEM nobody answers on {', '.join(rows)}; type: lamppost bus probe"
    if as_json:
        import orjson

        answer = {
            "schema": "lamppost.bus-scan/1",
            "via": found.via,
            "links": {link: [asdict(r) for r in residents] for link, residents in rows.items()},
            "verdict": closing,
        }
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        say(paint(closing, "good" if count else "bad"))
    if not count:
        raise SystemExit(6)


def _write(out: Path, site: Path, found: Reach, rows: dict[str, list[Found]]) -> None:
    """The site file with a table for every one that it does not have and whose model is known."""
    text = site.read_text(encoding="utf-8-sig").rstrip() + "\n"
    taken = {device.name for device in found.site.device}
    for link, residents in rows.items():
        for each in residents:
            if _configured(found, link, each) is not None or not each.model:
                continue
            at = each.address if isinstance(each, MeterFound) else each.unit
            name = f"{each.model.replace('.', '-')}-{at}"
            while name in taken:
                name += "-new"
            taken.add(name)
            text += _fragment(link, each, name, residents)
    out.write_text(text, encoding="utf-8")


def _fragment(link: str, each: Found, name: str, residents: Sequence[Found]) -> str:
    if isinstance(each, MeterFound):
        meters = [r for r in residents if isinstance(r, MeterFound)]
        alone = sum(meter.address == each.address for meter in meters) == 1
        return bus_scan_mbus.fragment(link, each, name, alone=alone)
    why = "a register told the model" if each.proved else f"fits: {', '.join(each.fits[:4])}"
    serial = f", serial number {each.serial}" if each.serial is not None else ""
    return (
        f"\n# found by lamppost bus scan; {why}{serial}\n[[device]]\n"
        f'name = "{name}"\nmodel = "{each.model}"\nlink = "{link}"\nunit = {each.unit}\n'
    )
