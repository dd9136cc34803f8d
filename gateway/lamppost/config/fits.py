"""Whether a device fits its link: the kind of link, and the keys by which it is found on it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lamppost.config.problems import Problem, shown
from lamppost.config.schema import (
    DeviceSettings,
    LinkSettings,
    ModbusRtuLink,
    SerialLink,
    Site,
)
from lamppost.config.units import in_unit, units_for
from lamppost_drivers.contract import (
    BroadcastDriver,
    Driver,
    ExchangeDriver,
    PulseDriver,
    RegisterMap,
)

HIGHEST_PRIMARY = 250
"""Of M-Bus (EN 13757-2); what is above means something else."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "unit": ("modbus-rtu", "modbus-tcp", "mbus", "mbus-tcp"),
    "secondary": ("mbus", "mbus-tcp"),
    "address": ("i2c",),
    "mac": ("ble",),
    "key": ("ble",),
    "pin": ("gpio",),
    "per_pulse": ("gpio",),
    "debounce": ("gpio",),
    "edge": ("gpio",),
}
"""Keys of a device that mean something on some kinds of link only."""


def kinds_for(driver: Driver) -> tuple[str, ...]:
    """The kinds of link that carry a driver's devices."""
    if isinstance(driver, RegisterMap):
        return ("modbus-rtu", "modbus-tcp")
    if isinstance(driver, ExchangeDriver):
        return ("mbus", "mbus-tcp") if driver.bus == "mbus" else (driver.bus,)
    if isinstance(driver, BroadcastDriver):
        return ("ble",)
    return ("gpio",) if isinstance(driver, PulseDriver) else ("serial",)


def place(device: DeviceSettings, driver: Driver | None, link: LinkSettings) -> tuple[str, object]:
    """Where on its link a device is found: the key that says so, and its value (None: not said).

    A plain serial line has one place, with no key.
    """
    if isinstance(link, SerialLink):
        return "", ""
    if link.kind == "i2c":
        factory = driver.address if isinstance(driver, ExchangeDriver) else None
        return "address", factory if device.address is None else device.address
    if link.kind == "gpio":
        return "pin", device.pin
    if link.kind == "ble":
        return "mac", device.mac and device.mac.upper()
    if link.kind in ("mbus", "mbus-tcp") and device.secondary is not None:
        return "secondary", device.secondary
    return "unit", device.unit


def fits(
    index: int, device: DeviceSettings, driver: Driver, link: LinkSettings
) -> Iterator[Problem]:
    """What is wrong with one device on its link."""
    key = f"device[{index}]"
    wanted = kinds_for(driver)
    if link.kind not in wanted:
        yield Problem(f"{key}.link", shown(device.link), _misfit(device, driver, link, wanted))
        return
    for name, kinds in KEYS.items():
        given = getattr(device, name)
        if given is not None and link.kind not in kinds:
            reason = f"only for a device on a link of kind {' or '.join(kinds)}; remove it"
            if name == "unit":
                reason = f"{device.model} has no unit id; remove it"
            yield Problem(f"{key}.{name}", shown(given), reason)
    if isinstance(driver, RegisterMap):
        yield from _modbus(key, device, link)
    elif isinstance(driver, PulseDriver):
        yield from _pulses(key, device, driver)
    elif link.kind in ("mbus", "mbus-tcp"):
        yield from _mbus(key, device)
    elif link.kind == "ble" and device.mac is None:
        yield Problem(
            f"{key}.mac", "", 'required: the address on the device, as "A4:C1:38:11:22:33"'
        )


def _mbus(key: str, device: DeviceSettings) -> Iterator[Problem]:
    if (device.unit is None) == (device.secondary is None):
        reason = "required: the primary address (1 to 250), or secondary, the meter's number of eight digits"
        if device.unit is not None:
            reason = "the meter has secondary too; write one of the two"
        yield Problem(f"{key}.unit", "" if device.unit is None else str(device.unit), reason)
    elif device.unit is not None and device.unit > HIGHEST_PRIMARY:
        yield Problem(f"{key}.unit", str(device.unit), f"must be 0 to {HIGHEST_PRIMARY} on M-Bus")
    elif device.secondary is not None and int(device.secondary) <= HIGHEST_PRIMARY:
        reason = "cannot be told from a primary address; use unit"
        yield Problem(f"{key}.secondary", shown(device.secondary), reason)


def _pulses(key: str, device: DeviceSettings, driver: PulseDriver) -> Iterator[Problem]:
    if device.pin is None:
        yield Problem(
            f"{key}.pin", "", "required: the GPIO number (BCM), as 17 for pin 11 of the header"
        )
    unit = driver.total.unit
    if device.per_pulse is not None and in_unit(device.per_pulse, unit) is None:
        reason = f"{device.model} counts {unit}; write it in {', '.join(units_for(unit))}"
        yield Problem(f"{key}.per_pulse", shown(str(device.per_pulse)), reason)


def _misfit(
    device: DeviceSettings, driver: Driver, link: LinkSettings, wanted: Sequence[str]
) -> str:
    if isinstance(driver, RegisterMap) and isinstance(link, SerialLink):
        return f"{device.model} speaks Modbus; link {link.name} has kind serial, not modbus-rtu"
    return f"{device.model} needs a link of kind {' or '.join(wanted)}; {link.name} is {link.kind}"


def _modbus(key: str, device: DeviceSettings, link: LinkSettings) -> Iterator[Problem]:
    if device.unit is None:
        yield Problem(f"{key}.unit", "", "required: the Modbus unit id (1 to 247)")
    elif isinstance(link, ModbusRtuLink) and not 1 <= device.unit <= 247:
        yield Problem(f"{key}.unit", str(device.unit), "must be 1 to 247 on a serial line")


def taken_twice(
    site: Site, drivers: Sequence[Driver | None], links: Mapping[str, LinkSettings]
) -> Iterator[Problem]:
    """An address answers once on a bus; a plain serial line carries one device."""
    taken: dict[tuple[str, str, object], int] = {}
    for index, (device, driver) in enumerate(zip(site.device, drivers, strict=True)):
        link = links.get(device.link)
        if link is None:
            continue
        key, value = place(device, driver, link)
        if value is None:
            continue
        slot = (device.link, key, value)
        first = taken.setdefault(slot, index)
        if first == index:
            continue
        if not key:
            reason = f"link {link.name} carries one device; device[{first}] is on it"
            yield Problem(f"device[{index}].link", shown(device.link), reason)
        else:
            what = "unit id" if key == "unit" else key
            reason = f"{what} already taken on {link.name} by device[{first}] ({site.device[first].name})"
            at = f"{value:#04x}" if key == "address" else shown(value)
            yield Problem(f"device[{index}].{key}", at, reason)
