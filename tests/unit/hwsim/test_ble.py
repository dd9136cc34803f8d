"""Our BlueZ on a private bus under the real bleak: scans, GATT, and everything that can break."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("bleak")

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from hwsim.ble import Advertisement, Bluez, Characteristic, PrivateBus
from hwsim.ble_bus import BusError

RUUVI = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
TAG = "CB:B8:33:4C:88:4F"
BTHOME = "0000fcd2-0000-1000-8000-00805f9b34fb"
SENSING, TEMPERATURE = (
    "0000181a-0000-1000-8000-00805f9b34fb",
    "00002a6e-0000-1000-8000-00805f9b34fb",
)


@pytest.fixture()
def bluez(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bluez]:
    try:
        bus = PrivateBus(tmp_path)
    except BusError as error:
        pytest.skip(str(error))
    with bus, Bluez(bus.address) as made:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield made


class Heard:
    """Collects what a scanner calls back, and waits for a number of them."""

    def __init__(self) -> None:
        self.all: list[tuple[str, AdvertisementData]] = []

    def __call__(self, device: BLEDevice, seen: AdvertisementData) -> None:
        self.all.append((device.address, seen))

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.all) < count:
                await asyncio.sleep(0.005)


async def test_advertisements_reach_bleak(bluez: Bluez) -> None:
    heard = Heard()
    assert not bluez.advertise(Advertisement(TAG))
    async with BleakScanner(heard):
        assert bluez.scanning
        packet = Advertisement(TAG, -61, "Ruuvi 884F", manufacturer={0x499: RUUVI})
        assert await asyncio.to_thread(bluez.advertise, packet)
        bthome = Advertisement(
            "A4:C1:38:11:22:33", -75, service={BTHOME: bytes.fromhex("40020ca9")}
        )
        await asyncio.to_thread(bluez.advertise, bthome)
        await heard.wait(2)
    (first, ruuvi), (_, home) = heard.all[:2]
    assert (first, ruuvi.rssi, ruuvi.local_name) == (TAG, -61, "Ruuvi 884F")
    assert ruuvi.manufacturer_data == {0x499: RUUVI}
    assert home.service_data == {BTHOME: bytes.fromhex("40020ca9")}
    assert not bluez.scanning


async def test_a_busy_street_loses_none(bluez: Bluez) -> None:
    heard = Heard()
    packets = [
        Advertisement(
            f"C0:00:00:00:{at % 20:02X}:01", -50, manufacturer={0x499: at.to_bytes(4, "big")}
        )
        for at in range(400)
    ]
    async with BleakScanner(heard):
        assert await asyncio.to_thread(bluez.replay, packets) == 400
        await heard.wait(400)
    assert [seen.manufacturer_data[0x499] for _, seen in heard.all] == [
        at.to_bytes(4, "big") for at in range(400)
    ]


async def found(bluez: Bluez) -> BLEDevice:
    """Scan for the peripheral."""
    heard = Heard()
    async with BleakScanner(heard) as scanner:
        await asyncio.to_thread(bluez.advertise, Advertisement(TAG, name="env", uuids=[SENSING]))
        await heard.wait(1)
        return scanner.discovered_devices[0]


async def test_gatt_read_write_notify_and_a_broken_link(bluez: Bluez) -> None:
    shown = Characteristic((2345).to_bytes(2, "little"))
    bluez.peripheral(TAG, {SENSING: {TEMPERATURE: shown}})
    device, lost, notes = await found(bluez), asyncio.Event(), asyncio.Queue[bytes]()
    async with BleakClient(device, disconnected_callback=lambda _: lost.set()) as client:
        assert await client.read_gatt_char(TEMPERATURE) == shown.value
        await client.write_gatt_char(TEMPERATURE, b"\x01\x02", response=True)
        assert shown.written == [b"\x01\x02"]
        assert not await asyncio.to_thread(bluez.notify, TAG, TEMPERATURE, b"?")
        await client.start_notify(TEMPERATURE, lambda _, value: notes.put_nowait(bytes(value)))
        assert await asyncio.to_thread(bluez.notify, TAG, TEMPERATURE, b"\x07")
        assert await asyncio.wait_for(notes.get(), 10) == b"\x07"
        await asyncio.to_thread(bluez.drop, TAG)
        await asyncio.wait_for(lost.wait(), 10)
        assert not client.is_connected


async def test_refused_connections_and_scans(bluez: Bluez) -> None:
    device = await found(bluez)
    bluez.fail("Connect", text="le-connection-abort-by-peer")
    with pytest.raises(BleakError, match="le-connection-abort-by-peer"):
        await BleakClient(device, timeout=5).connect()
    bluez.fail("StartDiscovery", "org.bluez.Error.InProgress", "Operation already in progress")
    with pytest.raises(BleakError, match="InProgress"):
        await BleakScanner(Heard()).start()
    bluez.fail("StartDiscovery", "")
    await asyncio.to_thread(bluez.power, False)
    with pytest.raises(BleakError):
        await BleakScanner(Heard()).start()
    await asyncio.to_thread(bluez.power, True)
    assert await scans_again(bluez)


async def scans_again(bluez: Bluez) -> bool:
    """bleak learns of the adapter's return by a signal, which may still be on its way."""
    for _ in range(200):
        with contextlib.suppress(BleakError):
            async with BleakScanner(Heard()):
                return bluez.scanning
        await asyncio.sleep(0.05)
    return False


async def test_bluetoothd_dies_and_comes_back(bluez: Bluez) -> None:
    heard = Heard()
    scanner = BleakScanner(heard)
    await scanner.start()
    await asyncio.to_thread(bluez.crash)
    await asyncio.to_thread(bluez.restart)
    # The trap: bleak raises nothing, and its scan is dead.
    assert not bluez.scanning
    assert not await asyncio.to_thread(bluez.advertise, Advertisement(TAG))
    assert heard.all == []
    async with BleakScanner(heard):
        await asyncio.to_thread(bluez.advertise, Advertisement(TAG))
        await heard.wait(1)
