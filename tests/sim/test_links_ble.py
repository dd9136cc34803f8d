"""Bluetooth from the site file to the samples: real bleak over a private bus, and a bluetoothd that dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("bleak")

from fakes.acquiring import Acquiring
from hwsim.ble import Advertisement, Bluez, PrivateBus
from hwsim.ble_bus import BusError
from lamppost.errors import LinkError
from lamppost.links.ble import BleLink

TAG, DOOR, STRANGER = "CB:B8:33:4C:88:4F", "54:48:E6:8F:80:A5", "C0:00:00:00:00:01"
RUUVI = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
BTHOME = "0000fcd2-0000-1000-8000-00805f9b34fb"
SEALED = bytes.fromhex("41eae92fe72ae501000000aa576a44")  # 20.57 °C, 51.73 %RH with the key 00..0F
KEY = bytes(range(16)).hex()

SITE = f"""
[[link]]
name = "radio"
kind = "ble"
silence = "2s"
[[device]]
name = "tag"
model = "ruuvi"
link = "radio"
mac = "{TAG.lower()}"
every = "500ms"
points = ["temperature", "battery.voltage"]
[[device]]
name = "door"
model = "bthome-v2"
link = "radio"
mac = "{DOOR}"
key = "door-key"
every = "500ms"
points = ["temperature", "humidity"]
"""


class Street:
    """Advertises what is in `packets` every 100 ms, as the devices of a street do."""

    def __init__(self, bluez: Bluez) -> None:
        self.bluez = bluez
        self.packets = {
            TAG: Advertisement(TAG, -61, manufacturer={0x499: RUUVI}),
            DOOR: Advertisement(DOOR, -75, service={BTHOME: SEALED}),
            STRANGER: Advertisement(STRANGER, -80, manufacturer={0x4C: b"\x10\x05"}),
        }
        self.pause = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            with self.pause:
                for packet in list(self.packets.values()):
                    self.bluez.advertise(packet)

    def close(self) -> None:
        self._done.set()
        self._thread.join()


@pytest.fixture()
def bus(tmp_path: Path) -> Iterator[PrivateBus]:
    try:
        made = PrivateBus(tmp_path / "dbus")
    except BusError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture()
def street(bus: PrivateBus) -> Iterator[Street]:
    with Bluez(bus.address) as bluez:
        made = Street(bluez)
        yield made
        made.close()


@pytest.fixture()
def start(tmp_path: Path, bus: PrivateBus) -> Callable[[], Acquiring]:
    credentials = tmp_path / "state" / "credentials"
    credentials.mkdir(parents=True)
    (credentials / "door-key").write_text(KEY + "\n")
    return lambda: Acquiring(tmp_path, SITE, bus.environment())


def test_plain_and_encrypted_sensors(street: Street, start: Callable[[], Acquiring]) -> None:
    with start() as gateway:
        gateway.wait(lambda: gateway.reasons("tag")["good"] >= 6)
        gateway.wait_for("door", "good")
        (status,) = gateway.status()
        assert gateway.said() == ""
    assert gateway.newest("tag") == {
        "temperature": pytest.approx(24.3),
        "battery.voltage": pytest.approx(2.977),
    }
    assert gateway.newest("door")["temperature"] == pytest.approx(20.57)
    assert set(gateway.reasons("tag")) == set(gateway.reasons("door")) == {"good"}
    assert status["stray"] > 0  # the stranger's
    assert not street.bluez.scanning


def is_passive(link: BleLink) -> bool:
    return link.passive


async def test_passive_where_bluez_allows_it_else_active(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bus.environment().items():
        monkeypatch.setenv(name, value)
    for experimental in (True, False):
        with Bluez(bus.address, experimental=experimental) as bluez:
            made = Street(bluez)
            made.packets[STRANGER] = Advertisement(STRANGER, -80, name="mute", flags=None)
            link = BleLink("hci0", 10.0, [TAG])
            await link.open()
            try:
                heard = [each for _ in range(3) for each in await link.receive(10.0)]
                assert link.passive == experimental
                assert bluez.asks != experimental
            finally:
                made.close()
                link.close()
                await link.ended()
            assert {each.address for each in heard} == {TAG}
            assert heard[0].manufacturer == {0x499: RUUVI}
            assert not bluez.scanning


async def test_a_passive_scan_that_hears_nobody_is_followed_by_an_active_one(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bus.environment().items():
        monkeypatch.setenv(name, value)
    with Bluez(bus.address, experimental=True) as bluez:
        made = Street(bluez)
        mute = Advertisement(TAG, -61, name="mute", flags=None)  # matches no pattern
        made.packets = {TAG: mute}
        link = BleLink("hci0", 0.5, [TAG])
        try:
            await link.open()
            assert is_passive(link)
            with pytest.raises(LinkError) as silent:
                for _ in range(10):
                    await link.receive(0.2)
            assert silent.value.code == "link.silent"
            link.close()
            await link.open()
            assert not is_passive(link)
            assert (await link.receive(10.0))[0].address == TAG
        finally:
            made.close()
            link.close()
            await link.ended()


def test_bluetoothd_dies_and_comes_back(street: Street, start: Callable[[], Acquiring]) -> None:
    with start() as gateway:
        gateway.wait_for("tag", "good")
        for _ in range(2):
            with street.pause:
                street.bluez.crash()
                gateway.wait_for("tag", "not_connected", after=len(gateway.samples))
                gateway.wait_for("door", "not_connected", after=len(gateway.samples))
                (status,) = gateway.status()
                assert status["fault"]["code"] in ("link.lost", "link.missing")
                street.bluez.restart()
            gateway.wait_for("tag", "good", after=len(gateway.samples))
            gateway.wait_for("door", "good", after=len(gateway.samples))
        assert gateway.said().count("(bluetoothd ended) [link.lost]") == 2
        assert "link.silent" not in gateway.said()


def test_a_scan_that_hears_nothing_is_begun_anew(
    street: Street, start: Callable[[], Acquiring]
) -> None:
    with start() as gateway:
        gateway.wait_for("tag", "good")
        with street.pause:
            gateway.wait(lambda: "link.silent" in gateway.said(), "silent")
        gateway.wait_for("tag", "good", after=len(gateway.samples))
        (status,) = gateway.status()
    assert status["opened"] >= 2


def test_one_that_is_not_heard_is_alone_with_it(
    street: Street, start: Callable[[], Acquiring]
) -> None:
    with start() as gateway:
        gateway.wait_for("door", "good")
        packet = street.packets.pop(DOOR)
        gateway.wait_for("door", "no_response")
        (status,) = gateway.status()
        street.packets[DOOR] = packet
        gateway.wait_for("door", "good", after=len(gateway.samples))
    assert set(gateway.reasons("tag")) == {"good"}
    assert status["devices"][1]["fault"]["code"] == "link.no-answer"
    assert DOOR in status["devices"][1]["fault"]["why"]


def test_no_key_a_wrong_key_and_a_damaged_payload(
    street: Street, start: Callable[[], Acquiring], tmp_path: Path
) -> None:
    file = tmp_path / "state" / "credentials" / "door-key"
    file.unlink()
    with start() as gateway:
        gateway.wait_for("door", "not_available")
        (status,) = gateway.status()
        assert status["devices"][1]["fault"]["code"] == "link.no-key"
        file.write_text(KEY)
        gateway.wait_for("door", "good")
        street.packets[DOOR] = Advertisement(DOOR, service={BTHOME: SEALED[:-1] + b"\0"})
        street.packets[TAG] = Advertisement(TAG, manufacturer={0x499: RUUVI[:9]})
        gateway.wait_for("door", "corrupt")
        gateway.wait_for("tag", "corrupt")
        assert KEY not in str(gateway.status()) + gateway.said()


def test_no_bluetoothd_at_all(bus: PrivateBus, start: Callable[[], Acquiring]) -> None:
    with start() as gateway:
        gateway.wait_for("tag", "not_connected")
        (status,) = gateway.status()
        assert status["fault"]["code"] == "link.missing"
        with Bluez(bus.address) as bluez:
            street = Street(bluez)
            gateway.wait_for("tag", "good")
            street.close()
