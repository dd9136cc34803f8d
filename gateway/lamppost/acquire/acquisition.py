"""Builds the pollers of a site, one a link, and runs them side by side."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, cast

from lamppost.acquire.broadcasts import Broadcasts, Heard, Radio
from lamppost.acquire.conversation import I2cBus, I2cPeer, SerialPeer
from lamppost.acquire.counts import CountsFile
from lamppost.acquire.credential import Credential
from lamppost.acquire.device import Device, points_of
from lamppost.acquire.exchanges import Asked, Exchanges
from lamppost.acquire.groups import MapDevice
from lamppost.acquire.leases import Leases
from lamppost.acquire.listener import Listener
from lamppost.acquire.liveness import Watched
from lamppost.acquire.poller import ModbusPoller
from lamppost.acquire.port import Opens, Port
from lamppost.acquire.pulses import Counted, Pins, Pulses
from lamppost.acquire.registry import Registry
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import phases
from lamppost.acquire.serial_line import SerialLine
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
from lamppost.config.units import in_unit
from lamppost.errors import SiteError
from lamppost.links.modbus_link import ModbusLink
from lamppost.model import Sample
from lamppost_drivers.contract import (
    BroadcastDriver,
    Driver,
    ExchangeDriver,
    Point,
    PulseDriver,
    RegisterMap,
    Serial,
    StreamDriver,
)

MBUS_BITS, MBUS_ADAPTER = 330, 0.25
"""EN 13757-2: a meter answers after 330 bit times and 50 ms at most; converters and adapters take their time too."""

Deliver = Callable[[Sample], None]


class Poller(Protocol):
    """What runs on one link."""

    async def run(self) -> None:
        """Run until cancelled."""
        ...

    def status(self) -> BusStatus:
        """As it is now."""
        ...


class Acquisition:
    """All pollers of a site. To stop it, cancel `run`: every link is closed then."""

    def __init__(
        self, pollers: Mapping[str, Poller], ports: Mapping[str, Port[Opens]], clock: Clock
    ) -> None:
        self._pollers = dict(pollers)
        self._ports = dict(ports)
        self.leases = Leases(self._ports, clock)
        """What technicians borrow; see there."""
        self._turns = {name: Watched(port.bus.turn, clock) for name, port in ports.items()}

    async def run(self) -> None:
        """Poll and listen until cancelled. No link and no device ends it; a bug does."""
        async with asyncio.TaskGroup() as group:
            for name, poller in self._pollers.items():
                group.create_task(poller.run(), name=f"poll {name}")
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await self.leases.end()  # before the pollers close their links

    def status(self) -> tuple[BusStatus, ...]:
        """Every link with its devices, in the order of the site file."""
        return tuple(poller.status() for poller in self._pollers.values())

    def stuck(self) -> tuple[str, ...]:
        """Links on which one request has not ended for longer than any lease lasts: only a restart helps them.

        Whoever wants to know asks every minute or so; the time is counted between the answers.
        """
        return tuple(name for name, turn in self._turns.items() if turn.is_stuck())

    def lease(self, link: str, seconds: float) -> AbstractAsyncContextManager[Opens]:
        """`async with acquisition.lease("rs485-1", 30) as link: await link.read(...)`: the link without its poller.

        Meanwhile its readings are marked `maintenance`. Raises KeyError for an unknown link, and LinkError as
        `links.bus.Bus.lease` does; the link may be closed, then its methods raise `link.lost`.
        """
        return self._ports[link].bus.lease(seconds)


def build(
    site: Site, registry: Registry, clock: Clock, deliver: Deliver, state: Path = Path()
) -> Acquisition:
    """The pollers of a site that passed `config.crosscheck`. Opens nothing. `deliver` is called on the event loop.

    `state`: the folder of the gateway; counts of pulses are kept there, and credentials that systemd does not bring.
    Raises LookupError for an unknown model, SiteError `site.no-link` for a device that its link cannot carry.
    """
    devices: dict[str, list[DeviceSettings]] = defaultdict(list)
    for settings in site.device:
        devices[settings.link].append(settings)
    pollers: dict[str, Poller] = {}
    ports: dict[str, Port[Opens]] = {}
    used = [link for link in site.link if devices[link.name]]
    for turn, link in enumerate(used):
        drivers = [registry.find(settings.model) for settings in devices[link.name]]
        found = _Found(link, devices[link.name], drivers, clock, deliver, state)
        poller = found.poller(link, turn / len(used))
        pollers[link.name] = poller
        ports[link.name] = cast(Port[Opens], poller.port)
    return Acquisition(pollers, ports, clock)


def device_points(site: Site, registry: Registry) -> dict[str, tuple[Point, ...]]:
    """By device name, the points of it that are read, in the order of its model."""
    return {device.name: points_of(device, registry.find(device.model)) for device in site.device}


_Poller = ModbusPoller | Listener | Exchanges[SerialLine] | Exchanges[I2cBus] | Pulses | Broadcasts


class _Found:
    """One link of the site with everything that its poller is built from."""

    def __init__(
        self,
        link: LinkSettings,
        settings: Sequence[DeviceSettings],
        drivers: Sequence[Driver],
        clock: Clock,
        deliver: Deliver,
        state: Path,
    ) -> None:
        self._state = state
        self._name, self._kind = link.name, link.kind
        self._settings, self._drivers = settings, drivers
        self._clock, self._deliver = clock, deliver

    def poller(self, link: LinkSettings, offset: float) -> _Poller:
        """The poller of the link; `offset` as in `schedule.phases`."""
        if isinstance(link, SerialLink):
            return self.serial(link)
        if isinstance(link, I2cLink):
            return self.i2c(link, offset)
        if isinstance(link, MbusLink | MbusTcpLink):
            return self.mbus(link, offset)
        if isinstance(link, BleLink):
            return self.ble(link)
        if isinstance(link, GpioLink):
            return self.gpio(link)
        return self.modbus(link, offset)

    def modbus(self, link: ModbusRtuLink | ModbusTcpLink, offset: float) -> ModbusPoller:
        """A poller of Modbus units."""
        found: list[MapDevice] = []
        for settings, driver in zip(self._settings, self._drivers, strict=True):
            if not isinstance(driver, RegisterMap):
                raise self._misfit(settings)
            device = self._device(settings, driver)
            found.append(MapDevice(device, driver, settings.every, settings.poll))
        opened: ModbusLink = self._rtu(link) if isinstance(link, ModbusRtuLink) else _tcp(link)
        port = Port(self._name, self._kind, opened, self._clock)
        first = phases([group.period for each in found for group in each.groups], offset)
        return ModbusPoller(port, found, self._clock, first)

    def serial(self, link: SerialLink) -> Listener | Exchanges[SerialLine]:
        """A poller of the one device on a UART."""
        from lamppost.links import serial

        settings, driver = self._settings[0], self._drivers[0]
        if not isinstance(driver, StreamDriver | ExchangeDriver) or len(self._settings) > 1:
            raise self._misfit(self._settings[-1])
        line = _line(link, driver.serial)
        how = serial.LineSettings(line.baud, line.parity, line.stop_bits, line.data_bits)
        opened: SerialLine = serial.SerialLink(link.port, how)
        port = Port(self._name, self._kind, opened, self._clock)
        device = self._device(settings, driver)
        if isinstance(driver, StreamDriver):
            return Listener(port, device, driver, settings.every, self._clock)
        if driver.bus != "serial":
            raise self._misfit(settings)
        asked = Asked(device, driver, driver.address, settings.every, SerialPeer(opened))
        return Exchanges(port, [asked], self._clock, [0.0])

    def i2c(self, link: I2cLink, offset: float) -> Exchanges[I2cBus]:
        """A poller of the devices on an I2C bus."""
        from lamppost.links import i2c

        opened: I2cBus = i2c.I2cLink(link.port)
        asked = []
        for settings, driver in zip(self._settings, self._drivers, strict=True):
            if not isinstance(driver, ExchangeDriver) or driver.bus != "i2c":
                raise self._misfit(settings)
            address = driver.address if settings.address is None else settings.address
            peer = I2cPeer(opened, address, self._clock)
            device = self._device(settings, driver)
            asked.append(Asked(device, driver, address, settings.every, peer))
        port = Port(self._name, self._kind, opened, self._clock)
        first = phases([each.every for each in asked], offset)
        return Exchanges(port, asked, self._clock, first)

    def mbus(self, link: MbusLink | MbusTcpLink, offset: float) -> Exchanges[SerialLine]:
        """A poller of the meters on a wired M-Bus."""
        drivers = [d for d in self._drivers if isinstance(d, ExchangeDriver) and d.bus == "mbus"]
        if len(drivers) < len(self._drivers):
            raise self._misfit(self._settings[-1])
        peer = _mbus_peer(link, drivers[0].serial)
        opened = peer.link
        asked = []
        for settings, driver in zip(self._settings, drivers, strict=True):
            address = settings.unit if settings.secondary is None else int(settings.secondary)
            device = self._device(settings, driver)
            asked.append(Asked(device, driver, address or 0, settings.every, peer))
        port = Port(self._name, self._kind, opened, self._clock)
        first = phases([each.every for each in asked], offset)
        return Exchanges(port, asked, self._clock, first)

    def gpio(self, link: GpioLink) -> Pulses:
        """The counters on the pins of this board."""
        from lamppost.links import gpio

        counted = []
        for settings, driver in zip(self._settings, self._drivers, strict=True):
            if not isinstance(driver, PulseDriver) or settings.pin is None:
                raise self._misfit(settings)
            amount = settings.per_pulse
            worth = None if amount is None else in_unit(amount, driver.total.unit)
            counted.append(
                Counted(
                    self._device(settings, driver),
                    driver,
                    settings.pin,
                    settings.every,
                    per_pulse=worth,
                    debounce=settings.debounce,
                    edge=settings.edge,
                )
            )
        opened: Pins = gpio.GpioLink(self._state)
        port = Port(self._name, self._kind, opened, self._clock)
        file = CountsFile(self._state / f"counts-{self._name}.json")
        return Pulses(port, counted, file, link.save, self._clock)

    def ble(self, link: BleLink) -> Broadcasts:
        """What listens to advertisements."""
        from lamppost.links import ble

        heard = []
        for settings, driver in zip(self._settings, self._drivers, strict=True):
            if not isinstance(driver, BroadcastDriver) or settings.mac is None:
                raise self._misfit(settings)
            device = self._device(settings, driver)
            key = None if settings.key is None else Credential(settings.key, self._state)
            patience = max(3 * settings.every, link.silence)
            heard.append(Heard(device, driver, settings.mac.upper(), key, settings.every, patience))
        opened: Radio = ble.BleLink(link.adapter, link.silence, [each.address for each in heard])
        port = Port(self._name, self._kind, opened, self._clock)
        return Broadcasts(port, heard, self._clock)

    def _rtu(self, link: ModbusRtuLink) -> ModbusLink:
        # Imported when needed: a site of UART sensors loads no pymodbus, a site of TCP meters no pyserial.
        from lamppost.links.rtu import RtuLink
        from lamppost.links.serial import LineSettings

        line = _line(link, next(d.serial for d in self._drivers if isinstance(d, RegisterMap)))
        how = LineSettings(line.baud, line.parity, line.stop_bits, line.data_bits)
        return RtuLink(link.port, how, link.timeout)

    def _device(self, settings: DeviceSettings, driver: Driver) -> Device:
        return Device(settings, driver, self._clock, self._deliver)

    def _misfit(self, settings: DeviceSettings) -> SiteError:
        return SiteError(
            f"device {settings.name}: link {settings.link} cannot carry model {settings.model}",
            code="site.no-link",
            hint="run: lamppost config check",
        )


def _mbus_peer(link: MbusLink | MbusTcpLink, factory: Serial) -> SerialPeer:
    """The way to all meters of a wired M-Bus."""
    if isinstance(link, MbusTcpLink):
        from lamppost.links.tcp_line import TcpLine

        return SerialPeer(TcpLine(link.host, link.port, link.timeout), link.timeout)
    from lamppost.links import serial

    line = _line(link, factory)
    how = serial.LineSettings(line.baud, line.parity, line.stop_bits, line.data_bits)
    return SerialPeer(serial.SerialLink(link.port, how), MBUS_ADAPTER + MBUS_BITS / line.baud)


def _tcp(link: ModbusTcpLink) -> ModbusLink:
    from lamppost.links.tcp import TcpLink

    return TcpLink(link.host, link.port, link.timeout)


def _line(link: SerialLink | ModbusRtuLink | MbusLink, factory: Serial) -> Serial:
    """The line settings of the site, or as the device leaves the factory where it says nothing."""
    return Serial(
        link.baud or factory.baud,
        link.parity or factory.parity,
        link.stop_bits or factory.stop_bits,
        factory.data_bits,
    )
