"""What must fit together in a site: names, links, models, unit ids, poll groups, line settings. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator

from lamppost.config.alert_rules import rule_problems
from lamppost.config.fits import fits, taken_twice
from lamppost.config.problems import Problem, nearest, shown
from lamppost.config.schema import (
    BleLink,
    DeviceSettings,
    GpioLink,
    LinkSettings,
    MbusTcpLink,
    ModbusRtuLink,
    ModbusTcpLink,
    Site,
    UplinkSettings,
)
from lamppost.config.units import per_second, units_for
from lamppost_drivers.contract import Driver, RegisterMap

MAX_READINGS_A_SECOND = 5_000
MIN_PERSONAL_WINDOW = 900.0  # seconds


def crosscheck(site: Site, find: Callable[[str], Driver]) -> Iterator[Problem]:
    """All that is wrong between tables that are each right by themselves."""
    links = {link.name: link for link in site.link}
    yield from _uplink(site)
    yield from _repeated("link", "name", [link.name for link in site.link])
    yield from _repeated_endpoints(site)
    yield from _repeated("device", "name", [device.name for device in site.device])
    drivers: list[Driver | None] = []
    for index, device in enumerate(site.device):
        link = links.get(device.link)
        if link is None:
            reason = "no link of that name"
            yield Problem(
                f"device[{index}].link", shown(device.link), reason, nearest(device.link, links)
            )
        driver = yield from _driver(index, device, find)
        drivers.append(driver)
        if driver is not None:
            yield from _points(index, device, driver)
            yield from _checks(index, device, driver)
            if link is not None:
                yield from fits(index, device, driver, link)
    yield from taken_twice(site, drivers, links)
    yield from _line_settings(site, drivers)
    yield from _demand(site, drivers)
    yield from _privacy(site)
    yield from rule_problems(site, drivers)
    if site.aggregate.window < min(d.every for d in site.device):
        reason = f"shorter than the fastest device is read ({min(d.every for d in site.device):g}s)"
        yield Problem("aggregate.window", f"{site.aggregate.window:g}s", reason)


def _uplink(site: Site) -> Iterator[Problem]:
    """A hub needs a name, a certificate its key; what a broker cannot use is a mistake, not a wish."""
    uplink = site.uplink
    if isinstance(uplink, UplinkSettings):
        if not site.site.hub:
            yield Problem("site.hub", "", "required, but absent")
        return
    if bool(uplink.certificate) != bool(uplink.key):
        missing = "key" if uplink.certificate else "certificate"
        yield Problem(f"uplink.{missing}", "", "required: certificate and key go together")
    if uplink.certificate and not uplink.url.startswith("https:"):
        yield Problem("uplink.certificate", shown(uplink.certificate), "only with an https URL")


def _repeated(table: str, key: str, values: Iterable[Hashable]) -> Iterator[Problem]:
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value in first:
            reason = f"already taken by {table}[{first[value]}]"
            yield Problem(f"{table}[{index}].{key}", shown(str(value)), reason)
        else:
            first[value] = index


def _repeated_endpoints(site: Site) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for index, link in enumerate(site.link):
        key, value = _endpoint(link)
        taken = first.setdefault((key, value), index)
        if taken != index:
            reason = f"already taken by link[{taken}]"
            yield Problem(f"link[{index}].{key}", shown(value), reason)


def _endpoint(link: LinkSettings) -> tuple[str, str]:
    """What of this machine a link takes: the key that says so, and its value."""
    if isinstance(link, ModbusTcpLink | MbusTcpLink):
        return "port", f"{link.host}:{link.port}"
    if isinstance(link, GpioLink):
        return "kind", link.kind
    if isinstance(link, BleLink):
        return "adapter", link.adapter
    return "port", str(link.port)


def _driver(
    index: int, device: DeviceSettings, find: Callable[[str], Driver]
) -> Generator[Problem, None, Driver | None]:
    try:
        return find(device.model)
    except LookupError as unknown:
        near = getattr(unknown, "nearest", None)
        reason = "unknown model; see: lamppost device search"
        yield Problem(f"device[{index}].model", shown(device.model), reason, near)
        return None


def _points(index: int, device: DeviceSettings, driver: Driver) -> Iterator[Problem]:
    known = [point.name for point in driver.points]
    for number, name in enumerate(device.points):
        if name not in known:
            reason = f"model {device.model} has no such point"
            yield Problem(
                f"device[{index}].points[{number}]", shown(name), reason, nearest(name, known)
            )
    if not isinstance(driver, RegisterMap) or not driver.registers:
        for group in device.poll:
            reason = f"model {device.model} has no poll groups; use every"
            yield Problem(f"device[{index}].poll.{group}", "", reason)
        return
    groups = sorted({register.poll for register in driver.registers})
    for group in device.poll:
        if group not in groups:
            reason = f"model {device.model} has the poll groups {', '.join(groups)}"
            yield Problem(f"device[{index}].poll.{group}", "", reason, nearest(group, groups))


def _checks(index: int, device: DeviceSettings, driver: Driver) -> Iterator[Problem]:
    """Checks of points that are read, in their units."""
    read = {p.name: p for p in driver.points if not device.points or p.name in device.points}
    for name, check in device.check.items():
        key = f"device[{index}].check.{name}"
        if name not in read:
            reason = f"no such point of {device.name} is read"
            yield Problem(key, "", reason, nearest(name, read))
        elif check.max_step is None and check.stuck_after is None:
            yield Problem(key, "", "says nothing: write max_step, stuck_after or both")
        elif check.max_step is not None and per_second(check.max_step, read[name].unit) is None:
            units = ", ".join(f"{unit}/min" for unit in units_for(read[name].unit))
            reason = f"{name} is in {read[name].unit}; write it in {units}"
            yield Problem(f"{key}.max_step", shown(str(check.max_step)), reason)
        if check.stuck_after is not None and check.stuck_after < 2 * device.every:
            reason = f"shorter than two readings, {2 * device.every:g}s"
            yield Problem(f"{key}.stuck_after", f"{check.stuck_after:g}s", reason)


def _line_settings(site: Site, drivers: list[Driver | None]) -> Iterator[Problem]:
    """A line has one speed and parity. Devices that leave the factory with different ones need the site's word."""
    for index, link in enumerate(site.link):
        if not isinstance(link, ModbusRtuLink):
            continue
        factory = {
            device.model: driver.serial
            for device, driver in zip(site.device, drivers, strict=True)
            if device.link == link.name and isinstance(driver, RegisterMap)
        }
        for key in ("baud", "parity", "stop_bits"):
            settings = {model: getattr(serial, key) for model, serial in factory.items()}
            if getattr(link, key) is None and len(set(settings.values())) > 1:
                said = ", ".join(f"{model} {value}" for model, value in settings.items())
                reason = f"required: its devices leave the factory with different ones ({said})"
                yield Problem(f"link[{index}].{key}", "", reason)


def _privacy(site: Site) -> Iterator[Problem]:
    """A personal device's windows are long and hold several readings: else they are raw samples by another name."""
    personal = [(i, d) for i, d in enumerate(site.device) if d.personal]
    width = max(site.privacy.window, site.aggregate.window)
    if personal and site.privacy.window < MIN_PERSONAL_WINDOW:
        reason = f"personal devices need windows of at least {MIN_PERSONAL_WINDOW / 60:g}min"
        yield Problem("privacy.window", f"{site.privacy.window:g}s", reason)
    for index, device in personal:
        if device.every * 2 > width:
            reason = f"personal, but windows of {width:g}s would hold single readings: read it more often"
            yield Problem(f"device[{index}].every", f"{device.every:g}s", reason)


def _demand(site: Site, drivers: list[Driver | None]) -> Iterator[Problem]:
    rate: dict[str, float] = defaultdict(float)
    for device, driver in zip(site.device, drivers, strict=True):
        if driver is not None:
            rate[device.link] += len(device.points or driver.points) / device.every
    if sum(rate.values()) > MAX_READINGS_A_SECOND:
        reason = (
            f"asks for {sum(rate.values()):.0f} readings a second; at most {MAX_READINGS_A_SECOND}"
        )
        yield Problem("device", "", reason)
