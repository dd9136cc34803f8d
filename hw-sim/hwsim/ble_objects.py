"""The objects that BlueZ shows on D-Bus, as a tree of interfaces and properties (BlueZ doc/org.bluez.*.rst)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dbus_fast import Message, MessageType, Variant

ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
SERVICE, CHARACTERISTIC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER, MONITOR = "org.bluez.AdvertisementMonitorManager1", "org.bluez.AdvertisementMonitor1"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
HCI0 = "/org/bluez/hci0"

Interfaces: TypeAlias = dict[str, dict[str, Variant]]


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One received advertising packet. Payloads without company id or UUID."""

    address: str
    rssi: int = -60
    name: str | None = None
    manufacturer: Mapping[int, bytes] = field(default_factory=dict)
    service: Mapping[str, bytes] = field(default_factory=dict)
    uuids: Sequence[str] = ()
    address_type: str = "random"
    flags: int | None = 0x06

    def structures(self) -> list[tuple[int, bytes]]:
        """AD types and contents as in the air, of what a monitor may look for (Core specification supplement, A)."""
        found = [] if self.flags is None else [(0x01, bytes((self.flags,)))]
        found += [
            (0xFF, key.to_bytes(2, "little") + data) for key, data in self.manufacturer.items()
        ]
        found += [
            (0x16, bytes.fromhex(key[4:8])[::-1] + data) for key, data in self.service.items()
        ]
        return found

    def properties(self) -> dict[str, Variant]:
        """What of it BlueZ shows at the device's object."""
        found = {"RSSI": Variant("n", self.rssi)}
        if self.manufacturer:
            found["ManufacturerData"] = Variant("a{qv}", _bytes(self.manufacturer))
        if self.service:
            found["ServiceData"] = Variant("a{sv}", _bytes(self.service))
        if self.uuids:
            found["UUIDs"] = Variant("as", list(self.uuids))
        if self.name:
            found["Name"] = found["Alias"] = Variant("s", self.name)
        return found


@dataclass(slots=True)
class Characteristic:
    """A GATT characteristic of a device that can be connected to."""

    value: bytes = b""
    flags: Sequence[str] = ("read", "write", "notify")
    written: list[bytes] = field(default_factory=list)
    """What clients wrote, oldest first."""


def _bytes(payloads: Mapping[Any, bytes]) -> dict[Any, Variant]:
    return {key: Variant("ay", payload) for key, payload in payloads.items()}


def device_path(address: str) -> str:
    """Where BlueZ shows a device."""
    return f"{HCI0}/dev_{address.replace(':', '_').upper()}"


def adapter_properties() -> dict[str, Variant]:
    """A powered adapter that is not scanning."""
    return {
        "Address": Variant("s", "00:1A:7D:DA:71:13"),
        "AddressType": Variant("s", "public"),
        "Name": Variant("s", "hwsim"),
        "Alias": Variant("s", "hwsim"),
        "Class": Variant("u", 0),
        "Powered": Variant("b", True),
        "Discoverable": Variant("b", False),
        "Pairable": Variant("b", False),
        "Discovering": Variant("b", False),
        "UUIDs": Variant("as", []),
        "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
        "Roles": Variant("as", ["central", "peripheral"]),
    }


def device_properties(seen: Advertisement) -> dict[str, Variant]:
    """A device just seen for the first time."""
    flags = (
        "Paired",
        "Bonded",
        "Trusted",
        "Blocked",
        "LegacyPairing",
        "Connected",
        "ServicesResolved",
    )
    return {
        "Address": Variant("s", seen.address),
        "AddressType": Variant("s", seen.address_type),
        "Alias": Variant("s", seen.address.replace(":", "-")),
        "UUIDs": Variant("as", []),
        "Adapter": Variant("o", HCI0),
        **{flag: Variant("b", False) for flag in flags},
        **seen.properties(),
    }


class Tree:
    """All objects by path; every change is told as the signal that BlueZ would send."""

    def __init__(self, send: Callable[[Message], object]) -> None:
        self.objects: dict[str, Interfaces] = {}
        self._send = send

    def _signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        self._send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )

    def add(self, path: str, interfaces: Interfaces) -> None:
        """A new object."""
        self.objects[path] = interfaces
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """An object and all below it vanish."""
        for gone in [at for at in self.objects if at == path or at.startswith(path + "/")]:
            interfaces = list(self.objects.pop(gone))
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [gone, interfaces])

    def change(
        self, path: str, interface: str, changed: dict[str, Variant], gone: Sequence[str] = ()
    ) -> None:
        """Properties get a new value, or lose theirs."""
        properties = self.objects[path][interface]
        properties.update(changed)
        for name in gone:
            properties.pop(name, None)
        self._signal(
            path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, list(gone)]
        )
