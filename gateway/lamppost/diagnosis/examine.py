"""Examines the links of a site, side by side: each by its kind, directly or under the daemon's lease."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lamppost.acquire.credential import Credential
from lamppost.acquire.registry import Registry
from lamppost.clock import Clock
from lamppost.config.schema import (
    BleLink,
    DeviceSettings,
    GpioLink,
    I2cLink,
    LinkSettings,
    MbusLink,
    MbusTcpLink,
    ModbusRtuLink,
    ModbusTcpLink,
    SerialLink,
    Site,
)
from lamppost.diagnosis.access import Access
from lamppost.diagnosis.facts import Line
from lamppost.diagnosis.wire import air, i2c, mbus, pins, talking
from lamppost.diagnosis.wire.line import text_of
from lamppost.diagnosis.wire.plan import LinePlan, UnitPlan, unit_plan
from lamppost.diagnosis.wire.rtu import Examination
from lamppost.errors import LinkError
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import (
    BroadcastDriver,
    Driver,
    ExchangeDriver,
    PulseDriver,
    RegisterMap,
    StreamDriver,
)

LONGEST = 7.5
"""Seconds for a link, so that a probe ends within ten."""

WATCHED = 6.0
"""Seconds for what speaks when it likes: to begin and to end a scan takes its time too."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Examiner:
    """What an examination needs."""

    site: Site
    registry: Registry
    access: Access
    clock: Clock
    tell: Tell
    seconds: float = LONGEST
    state: Path = Path("/var/lib/lamppost")
    """Where keys of devices are."""

    async def links(self, names: Sequence[str] = (), devices: Sequence[str] = ()) -> list[Line]:
        """The links named (all without a name); of the devices named more closely."""
        chosen = [link for link in self.site.link if not names or link.name in names]
        used = [link for link in chosen if self._on(link)]
        return list(await asyncio.gather(*(self.link(link, devices) for link in used)))

    async def link(self, link: LinkSettings, devices: Sequence[str] = ()) -> Line:
        """One link. A LinkError becomes part of what was seen."""
        where, line = where_of(link), self._line(link)
        node = os.path.realpath(where)
        try:
            seen = await self._examined(link, line, devices)
            return msgspec.structs.replace(seen, node=node)
        except LinkError as error:
            who = str(error).partition(" held by ")[2] or str(error).partition(" holds")[0]
            return Line(
                link=link.name,
                kind=link.kind,
                where=where,
                node=node,
                line=text_of(line),
                code=error.code,
                why=str(error),
                holder=who if error.code == "link.busy" else "",
                group=error.hint.partition("the group ")[2].partition(":")[0],
            )

    async def _examined(
        self, link: LinkSettings, line: LineSettings, devices: Sequence[str]
    ) -> Line:
        until = self.clock.monotonic() + self.seconds
        if isinstance(link, ModbusRtuLink | ModbusTcpLink):
            async with self.access.raw(link) as raw:
                plan = self.modbus_plan(link, line)
                return await Examination(raw, plan, self.clock, until, self.tell).run(devices)
        if isinstance(link, MbusLink | MbusTcpLink):
            meters = self.mbus_plan(link, line)
            async with self.access.raw(link) as raw:
                return await mbus.MbusExamination(raw, meters, self.clock, until, self.tell).run()
        if isinstance(link, SerialLink):
            return await self._serial(link, line, until)
        if isinstance(link, I2cLink):
            async with self.access.i2c(link) as bus:
                units = await i2c.examine(bus, self._i2c_devices(link))
                return Line(
                    link=link.name, kind="i2c", where=str(link.port), units=units, tested=True
                )
        if (
            self.access.via == "direct"
        ):  # else the daemon has the pins, and hears the air better than we
            if isinstance(link, BleLink):
                return await self._air(link)
            if isinstance(link, GpioLink):
                return await self._pins(link)
        return Line(link=link.name, kind=link.kind, where=where_of(link))

    async def _air(self, link: BleLink) -> Line:
        from lamppost.links.ble import BleLink as Adapter

        devices = []
        for device in self._on(link):
            driver = self.registry.find(device.model)
            if isinstance(driver, BroadcastDriver) and device.mac:
                key = Credential(device.key, self.state) if device.key else None
                devices.append(
                    air.Heard(device.name, driver, device.mac.upper(), device.every, key)
                )
        models = [self.registry.find(model) for model in self.registry.models()]
        others = [d for d in models if isinstance(d, BroadcastDriver)]
        wait = min(self.seconds, WATCHED)
        radio = Adapter(link.adapter, 2 * LONGEST, [each.address for each in devices])
        try:
            await radio.open()
            units = await air.listen(radio, devices, others, self.clock, wait, self.tell)
        finally:
            radio.close()
            await radio.ended()
        return Line(
            link=link.name,
            kind="ble",
            where=link.adapter,
            idle_seconds=units[0].seconds if units else 0.0,
            others=radio.stray,
            units=units,
            tested=True,
        )

    async def _pins(self, link: GpioLink) -> Line:
        from lamppost.links.gpio import GpioLink as Board

        inputs = []
        for device in self._on(link):
            driver = self.registry.find(device.model)
            if isinstance(driver, PulseDriver) and device.pin is not None:
                debounce = driver.debounce if device.debounce is None else device.debounce
                active = 0 if (device.edge or driver.edge) == "falling" else 1
                inputs.append(
                    pins.Input(
                        device.name, device.model, device.pin, active, debounce, driver.debounce
                    )
                )
        wait = min(self.seconds, WATCHED)
        with tempfile.TemporaryDirectory() as folder:
            board = Board(Path(folder))
            try:
                await board.open()
                units = await pins.watch(board, inputs, self.clock, wait, self.tell)
            finally:
                board.close()
        return Line(link=link.name, kind="gpio", where="GPIO", units=units, tested=True)

    async def _serial(self, link: SerialLink, line: LineSettings, until: float) -> Line:
        device = self._on(link)[0]
        driver = self.registry.find(device.model)
        async with self.access.raw(link) as raw:
            if isinstance(driver, StreamDriver):
                others = [self.registry.find(model) for model in self.registry.models()]
                unit = await talking.listen(
                    raw, device.name, driver, line, others, self.clock, until, self.tell
                )
            else:
                assert isinstance(driver, ExchangeDriver)
                unit = await talking.asked(raw, device.name, driver, line, self.clock)
        found = Line(link=link.name, kind="serial", where=str(link.port), line=text_of(line))
        return msgspec.structs.replace(found, units=[unit], tested=True)

    def modbus_plan(self, link: ModbusRtuLink | ModbusTcpLink, line: LineSettings) -> LinePlan:
        """The line as the site has it."""
        units: list[UnitPlan] = []
        for device in self._on(link):
            driver = self.registry.find(device.model)
            plan = unit_plan(device, driver) if isinstance(driver, RegisterMap) else None
            if plan is not None:
                units.append(plan)
        return LinePlan(link.name, link.kind, where_of(link), line, link.timeout, tuple(units))

    def mbus_plan(self, link: MbusLink | MbusTcpLink, line: LineSettings) -> mbus.MbusPlan:
        """The bus as the site has it."""
        meters = (mbus.Meter(d.name, d.model, d.unit, d.secondary or "") for d in self._on(link))
        timeout = link.timeout if isinstance(link, MbusTcpLink) else None
        return mbus.MbusPlan(link.name, link.kind, line, tuple(meters), timeout)

    def _i2c_devices(self, link: I2cLink) -> list[tuple[str, str, int]]:
        found = []
        for device in self._on(link):
            driver = self.registry.find(device.model)
            if isinstance(driver, ExchangeDriver):
                address = driver.address if device.address is None else device.address
                found.append((device.name, device.model, address))
        return found

    def _on(self, link: LinkSettings) -> list[DeviceSettings]:
        return [device for device in self.site.device if device.link == link.name]

    def _line(self, link: LinkSettings) -> LineSettings:
        return line_of(link, [self.registry.find(d.model) for d in self._on(link)])


def line_of(link: LinkSettings, drivers: Sequence[Driver]) -> LineSettings:
    """The line settings of the site, or as its devices leave the factory where it says nothing."""
    factory = next((d.serial for d in drivers if hasattr(d, "serial")), None)
    baud, parity, stop, bits = 9600, "N", 1, 8
    if factory is not None:
        baud, parity, stop, bits = (
            factory.baud,
            factory.parity,
            factory.stop_bits,
            factory.data_bits,
        )
    return LineSettings(
        getattr(link, "baud", None) or baud,
        getattr(link, "parity", None) or parity,  # type: ignore[arg-type]
        getattr(link, "stop_bits", None) or stop,  # type: ignore[arg-type]
        bits,  # type: ignore[arg-type]
    )


def where_of(link: LinkSettings) -> str:
    """The port or address of a link, for people."""
    if isinstance(link, ModbusTcpLink | MbusTcpLink):
        return f"{link.host}:{link.port}"
    return str(getattr(link, "port", None) or getattr(link, "adapter", None) or link.kind)
