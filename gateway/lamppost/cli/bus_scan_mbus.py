"""What `lamppost bus scan` says of meters on an M-Bus, and how it writes them into a site file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lamppost.cli.reach import Reach
from lamppost.cli.terminal import Progress, paint, wrapped
from lamppost.config.schema import DeviceSettings, MbusLink, MbusTcpLink
from lamppost.diagnosis.examine import line_of
from lamppost.diagnosis.wire.mbus import patience
from lamppost.diagnosis.wire.mbus_scan import MbusScan, MeterFound

_LOAN = 90.0
"""Seconds for which a bus is asked without giving it back to the daemon."""
_DIGITS = 8


async def scan(
    found: Reach,
    link: MbusLink | MbusTcpLink,
    addresses: Sequence[int],
    progress: Progress,
    shown: Callable[[MeterFound], None],
) -> list[MeterFound]:
    """By numbers, then by primary addresses, a piece at a time. Raises LinkError."""
    drivers = [found.registry.find(d.model) for d in found.site.device if d.link == link.name]
    line = line_of(link, drivers)
    timeout = link.timeout if isinstance(link, MbusTcpLink) else None
    async with found.access.raw(link) as raw:
        meters = await MbusScan(raw, line, timeout, progress, shown).by_number()
    piece = max(1, int(_LOAN / patience(line, timeout)))
    for at in range(0, len(addresses), piece):
        async with found.access.raw(link) as raw:
            some = MbusScan(raw, line, timeout, progress, shown)
            meters += await some.by_address(addresses[at : at + piece], meters)
    return meters


def configured(found: Reach, link: str, meter: MeterFound) -> DeviceSettings | None:
    """The device of the site file that is this meter."""
    return next(
        (
            d
            for d in found.site.device
            if d.link == link
            and (d.secondary == meter.number if d.secondary else d.unit == meter.address)
        ),
        None,
    )


def lines(found: Reach, link: str, meter: MeterFound) -> list[str]:
    """A meter for people."""
    device = configured(found, link, meter)
    model = f"fits {meter.model}" if meter.model else "an unknown model"
    said = [paint(f"{link}/{meter.address}  {model}", "bold")]
    details = [f"configured as {device.name} ({device.model})" if device else "not configured"]
    if meter.number:
        details.append(
            f"number {meter.number}, maker {meter.maker or 'not told'}, version {meter.version}, "
            f"medium {meter.medium:#04x}"
        )
    if meter.doubled:
        details.append("more than one meter answers here")
    if device and meter.model and device.model not in (meter.model, "mbus-meter"):
        details.append(f"not the model of the site file: lamppost bus probe {device.name}")
    for detail in details:
        said += wrapped(detail, indent=2)
    return said


def fragment(link: str, meter: MeterFound, name: str, *, alone: bool) -> str:
    """Its table for a site file. `alone`: nobody else has its primary address."""
    number = meter.number if len(meter.number) == _DIGITS and meter.number.isdecimal() else ""
    by_address = alone and 1 <= meter.address <= 250  # 0 is every new meter's
    where = f"unit = {meter.address}" if by_address or not number else f'secondary = "{number}"'
    told = f"; number {number}, maker {meter.maker}" if number else ""
    return (
        f"\n# found by lamppost bus scan; its telegram says the medium{told}\n[[device]]\n"
        f'name = "{name}"\nmodel = "{meter.model}"\nlink = "{link}"\n{where}\n'
    )
