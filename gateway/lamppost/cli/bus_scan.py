"""`lamppost bus scan`: who is on a Modbus line, beside what the site file says; and a site file with it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from lamppost.cli.bus import via
from lamppost.cli.reach import Reach, reach
from lamppost.cli.terminal import Progress, note, paint, say, wrapped
from lamppost.config.schema import DeviceSettings, LinkSettings
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.wire.orders import NAMES
from lamppost.diagnosis.wire.scan import SILENCE, Resident, Scan
from lamppost_drivers.contract import RegisterMap

_KINDS = ("modbus-rtu", "modbus-tcp")
_LOAN = 115.0


def show(
    socket: Path,
    state: Path,
    site: Path,
    links: tuple[str, ...],
    first: int,
    last: int,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Scan, print, and write the file asked for. Exit 6 where nobody answers."""
    if last < first:
        raise click.UsageError("--to is smaller than --from")
    found = reach(socket, state, site, "lamppost bus scan", _LOAN)
    chosen = found.links(links, _KINDS)
    if not chosen:
        raise click.UsageError("this site has no Modbus link to scan")
    progress = Progress(quiet=as_json)
    seconds = (last - first + 1) * (SILENCE + 0.01)
    if seconds > 10 and not as_json:
        note(
            f"asking {last - first + 1} unit ids on each of {len(chosen)} links: up to {seconds:.0f} s each"
        )
    if not as_json:
        via(found.via)
    rows: dict[str, list[Resident]] = {}
    for link in chosen:
        rows[link.name] = asyncio.run(
            _scan(found, link, range(first, last + 1), progress, quiet=as_json)
        )
        progress.clear()
    if out is not None:
        _write(out, site, found, rows)
    _finish(found, rows, out, as_json=as_json)


async def _scan(
    found: Reach, link: LinkSettings, units: range, progress: Progress, *, quiet: bool
) -> list[Resident]:
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    all_models = [found.registry.find(model) for model in found.registry.models()]
    maps = [d for d in all_models if isinstance(d, RegisterMap) and d.registers]
    configured = [d.unit for d in found.site.device if d.link == link.name and d.unit in units]
    order = [u for u in configured if u is not None] + [u for u in units if u not in configured]

    def shown(resident: Resident) -> None:
        progress.clear()
        if not quiet:
            for line in _lines(found, link.name, resident):
                say(line)

    async with found.access.raw(link) as raw:
        scan = Scan(raw, line_of(link, drivers), getattr(link, "timeout", 0.3), maps, progress)
        return await scan.run(order, shown)


def _configured(found: Reach, link: str, unit: int) -> DeviceSettings | None:
    return next((d for d in found.site.device if d.link == link and d.unit == unit), None)


def _lines(found: Reach, link: str, resident: Resident) -> list[str]:
    device = _configured(found, link, resident.unit)
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


def _finish(
    found: Reach, rows: dict[str, list[Resident]], out: Path | None, *, as_json: bool
) -> None:
    count = sum(len(each) for each in rows.values())
    new = [
        (link, r)
        for link, residents in rows.items()
        for r in residents
        if _configured(found, link, r.unit) is None
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


def _write(out: Path, site: Path, found: Reach, rows: dict[str, list[Resident]]) -> None:
    """The site file with a table for every unit that it does not have and whose model is known."""
    text = site.read_text(encoding="utf-8-sig").rstrip() + "\n"
    taken = {device.name for device in found.site.device}
    for link, residents in rows.items():
        for resident in residents:
            if _configured(found, link, resident.unit) is not None or not resident.model:
                continue
            name = f"{resident.model.replace('.', '-')}-{resident.unit}"
            while name in taken:
                name += "-new"
            taken.add(name)
            why = (
                "a register told the model"
                if resident.proved
                else f"fits: {', '.join(resident.fits[:4])}"
            )
            serial = f", serial number {resident.serial}" if resident.serial is not None else ""
            text += (
                f"\n# found by lamppost bus scan; {why}{serial}\n[[device]]\n"
                f'name = "{name}"\nmodel = "{resident.model}"\nlink = "{link}"\nunit = {resident.unit}\n'
            )
    out.write_text(text, encoding="utf-8")
