"""Bluetooth LE advertisements through bleak and BlueZ, listened to and never connected to. The only importer of bleak.

Passive where BlueZ allows it (its experimental advertisement monitor), else active. bleak says nothing when bluetoothd
dies in a scan, so the owner of its name is watched, and a scan that hears nothing at all for long is begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection
from typing import Any

from lamppost.clock import monotonic_ns
from lamppost.errors import LinkError
from lamppost.links import faults
from lamppost_drivers.contract import Advertisement

_BLUEZ = "org.bluez"
_RULE = (
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
    f"member='NameOwnerChanged',arg0='{_BLUEZ}'"
)
_START, _STOP = 10.0, 3.0
"""Seconds that a scan may take to begin, and to end."""
_WAITING = 1000
"""Advertisements that wait for whoever reads; beyond, the oldest are dropped."""
_FLAGS = (b"\x02", b"\x04", b"\x05", b"\x06", b"\x1a", b"\x1b", b"\x1e")
_COMPANY, _SERVICE = (b"\x99\x04",), (b"\xd2\xfc",)
"""How advertisements begin that a passive scan brings: the flags that most sensors have, Ruuvi's and BTHome's data."""


class BleLink:
    """One adapter. Only what `addresses` send is kept; all else is counted in `stray`."""

    def __init__(self, adapter: str, silence: float, addresses: Collection[str]) -> None:
        """`silence`: seconds without any advertisement after which the scan is taken for dead."""
        self.where = adapter
        self.stray = 0
        self.passive = False
        self._silence = silence
        self._addresses = frozenset(addresses)
        self._heard: deque[Advertisement] = deque(maxlen=_WAITING)
        self._news = asyncio.Event()
        self._newest = self._began = 0
        self._passive_fails = False
        self._lost: LinkError | None = None
        self._scanner: Any = None
        self._bus: Any = None
        self._ending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to scan; harmless if it scans. Raises LinkError `link.missing` or `link.not-installed`."""
        if self._scanner is not None:
            return
        await self.ended()
        try:
            from bleak.exc import BleakError
            from dbus_fast.errors import AuthError, DBusError, InvalidAddressError
        except ImportError:
            raise faults.not_installed(self.where, "ble") from None
        self._lost = None
        self._heard.clear()
        try:
            async with asyncio.timeout(_START):
                await self._watch()
                await self._scan(BleakError)
        except (BleakError, DBusError, AuthError, InvalidAddressError, OSError, EOFError) as why:
            self.close()
            raise faults.no_bluetooth(self.where, why or type(why).__name__) from None
        self._newest = self._began = monotonic_ns()

    def close(self) -> None:
        """Stop scanning, in the background; harmless if it does not scan."""
        scanner, bus = self._scanner, self._bus
        self._scanner = self._bus = None
        if scanner is not None or bus is not None:
            self._ending = asyncio.get_running_loop().create_task(_end(scanner, bus))

    async def ended(self) -> None:
        """Wait until the last `close` is done."""
        ending, self._ending = self._ending, None
        if ending is not None:
            await ending

    async def receive(self, seconds: float) -> list[Advertisement]:
        """What was heard since, as soon as there is something; empty after so many seconds.

        Raises LinkError `link.lost` once bluetoothd is gone, `link.silent` where nothing at all is heard any more.
        """
        if self._scanner is None:
            raise faults.not_open(self.where)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        found = list(self._heard)
        self._heard.clear()
        if self._lost is not None:
            raise self._lost
        if monotonic_ns() - self._newest > self._silence * 1e9:
            # A passive scan that heard nobody from its start: the controller may not do what BlueZ promises.
            self._passive_fails = self.passive and self._newest == self._began
            raise faults.silent(self.where, self._silence)
        return found

    # --- BlueZ

    async def _watch(self) -> None:
        from dbus_fast import BusType, Message
        from dbus_fast.aio import MessageBus

        self._bus = bus = MessageBus(bus_type=BusType.SYSTEM)
        await bus.connect()
        bus.add_message_handler(self._on_message)
        call = Message(
            destination="org.freedesktop.DBus",
            path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus",
            member="AddMatch",
            signature="s",
            body=[_RULE],
        )
        await bus.call(call)

    def _on_message(self, message: Any) -> None:
        if message.member == "NameOwnerChanged" and message.body[0] == _BLUEZ and message.body[1]:
            self._lost = faults.lost(self.where, "bluetoothd ended")
            self._news.set()

    async def _scan(self, refused: type[Exception]) -> None:
        from bleak import BleakScanner
        from bleak.args.bluez import OrPattern
        from bleak.assigned_numbers import AdvertisementDataType as Kind

        patterns: list[Any] = [
            OrPattern(0, kind, start)
            for kind, starts in (
                (Kind.FLAGS, _FLAGS),
                (Kind.MANUFACTURER_SPECIFIC_DATA, _COMPANY),
                (Kind.SERVICE_DATA_UUID16, _SERVICE),
            )
            for start in starts
        ]
        passive = BleakScanner(
            self._on_advertisement,
            scanning_mode="passive",
            bluez={"adapter": self.where, "or_patterns": patterns},
        )
        if not self._passive_fails:
            with contextlib.suppress(refused):
                await passive.start()
                self._scanner, self.passive = passive, True
                return
        active = BleakScanner(self._on_advertisement, bluez={"adapter": self.where})
        await active.start()
        self._scanner, self.passive = active, False

    def _on_advertisement(self, device: Any, seen: Any) -> None:
        self._newest = monotonic_ns()
        address = device.address.upper()
        if address not in self._addresses:
            self.stray += 1
            return
        self._heard.append(
            Advertisement(address, seen.manufacturer_data, seen.service_data, seen.local_name or "")
        )
        self._news.set()


async def _end(scanner: Any, bus: Any) -> None:
    """Stop a scan whose bluetoothd may be gone, and so never answer."""
    from bleak.exc import BleakError
    from dbus_fast.errors import DBusError

    try:
        if scanner is not None:
            with contextlib.suppress(BleakError, DBusError, OSError, EOFError):
                async with asyncio.timeout(_STOP):
                    await scanner.stop()
    finally:
        if bus is not None:
            bus.disconnect()
