"""How a command reaches the links: the site that runs, and the daemon's lease or the port itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from lamppost.acquire.registry import Registry
from lamppost.clock import SystemClock
from lamppost.config.problems import Problem, SiteInvalid
from lamppost.config.schema import DeviceSettings, LinkSettings, Site
from lamppost.diagnosis.access import Access, Direct
from lamppost.diagnosis.examine import LONGEST, Examiner
from lamppost.diagnosis.gather import program
from lamppost.diagnosis.leased import Leased
from lamppost.errors import SiteError

ON_WIRE = ("modbus-rtu", "modbus-tcp", "mbus", "mbus-tcp", "serial", "i2c")
"""Kinds of link on which a device is asked or listened to by a wire of its own."""
EVERY = (*ON_WIRE, "ble", "gpio")


@dataclass(frozen=True, slots=True)
class Reach:
    """A site, its drivers, and the way to its links. `via`: daemon or direct."""

    site: Site
    registry: Registry
    access: Access
    via: str
    status: dict[str, Any] | None
    state: Path

    def examiner(
        self, tell: Callable[[str], None] = lambda _: None, seconds: float = LONGEST
    ) -> Examiner:
        """For what is probed."""
        clock = SystemClock()
        return Examiner(self.site, self.registry, self.access, clock, tell, seconds, self.state)

    def links(
        self,
        named: Sequence[str],
        kinds: Sequence[str] = EVERY,
        otherwise: Mapping[str, str] = MappingProxyType({}),
    ) -> list[LinkSettings]:
        """The links named, or all of these kinds. Raises click.UsageError with the names there are.

        `otherwise`: what to say of a link of another kind, by its kind; {link} stands for its name.
        """
        known = {link.name: link for link in self.site.link if link.kind in kinds}
        for name in named:
            if name in known:
                continue
            kind = next((link.kind for link in self.site.link if link.name == name), "")
            if kind:
                raise click.UsageError(f"{name} is {kind}: {otherwise[kind].format(link=name)}")
            there = ", ".join(known) or "none"
            raise click.UsageError(f"no link {name!r} of kind {' or '.join(kinds)}: {there}")
        return [known[name] for name in named] if named else list(known.values())

    def device(self, wanted: str) -> DeviceSettings:
        """A device by its name or unit id. Raises click.UsageError with the names there are."""
        for device in self.site.device:
            if wanted in (device.name, str(device.unit)):
                return device
        there = ", ".join(device.name for device in self.site.device)
        raise click.UsageError(f"no device {wanted!r} in this site: {there}")


def reach(socket: Path, state: Path, site: Path, who: str, seconds: float = 30.0) -> Reach:
    """Look who answers. Raises SiteInvalid, SiteError `config.missing`, and daemon.* where one is there that does not
    answer or may not be asked.
    """
    daemon, status = program.daemon(socket)
    if daemon.state in ("hung", "denied"):
        from lamppost.status.control import ask

        ask(socket, {"do": "status"}, 2.0)  # says why
    found, loaded, registry = program.config(site, state)
    if loaded is None or registry is None:
        if found.problems:
            raise SiteInvalid([Problem("(file)", "", p) for p in found.problems])
        raise SiteError(
            f"the site file {site} cannot be read: {found.why}",
            code="config.missing",
            hint="name it: --site FILE",
        )
    access: Access = Leased(socket, who, seconds) if status else Direct()
    return Reach(loaded, registry, access, access.via, status, state)
