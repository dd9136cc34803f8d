"""Captured advertisements: whole ones (`adv`), HCI events as a sniffer logs them, or the payload alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lamppost.cli.captured_row import Decoded, Refused, Row, data_of, model_of, table_of, unhex
from lamppost_drivers.ble import bthome as bthome_driver
from lamppost_drivers.ble import ruuvi as ruuvi_driver
from lamppost_drivers.contract import Advertisement, BroadcastDriver, Driver, FrameError

Find = Callable[[str], Driver]
_HCI_EVENT, _LEGACY, _EXTENDED = b"\x04\x3e", 0x02, 0x0D
_BASE = "-0000-1000-8000-00805f9b34fb"
_ENCRYPTED = 0x01


def advertised(row: Row, driver: BroadcastDriver) -> Decoded:
    """What the driver makes of the row's advertisement and key."""
    given = row.get("key_hex") or table_of(row, "aux").get("key_hex") or ""
    key = unhex(given, "key_hex")
    seen = _advertisement(row, driver)
    payload = seen.service.get(bthome_driver.UUID, b"")
    if (
        driver.decode is bthome_driver.decode
        and payload[:1]
        and payload[0] & _ENCRYPTED
        and not key
    ):
        raise Refused("device.encrypted", "encrypted, and the row has no key_hex")
    return Decoded(driver.points, driver.decode(seen, key))


def bthome(row: Row, find: Find) -> Decoded:
    """Any BTHome device is of one model."""
    return advertised({**row, "model": "BTHome"}, _broadcast(find, "bthome-v2"))


def ruuvi(row: Row, find: Find) -> Decoded:
    """All formats of Ruuvi are of one model."""
    return advertised(row, _broadcast(find, "ruuvi"))


def _broadcast(find: Find, model: str) -> BroadcastDriver:
    driver = model_of({"model": model}, find)
    if not isinstance(driver, BroadcastDriver):
        raise Refused("device.unknown-model", f"{model} is no advertisement here")
    return driver


def _advertisement(row: Row, driver: BroadcastDriver) -> Advertisement:
    adv = table_of(row, "adv")
    if adv:
        return Advertisement(
            str(adv.get("address", "")),
            {_company(k): v for k, v in _payloads(adv, "manufacturer_data").items()},
            _payloads(adv, "service_data"),
            str(adv.get("local_name", "")),
        )
    data = data_of(row)
    if data.startswith(_HCI_EVENT):
        return _reported(data)
    if driver.decode is ruuvi_driver.decode:
        return Advertisement("", manufacturer={ruuvi_driver.COMPANY: data})
    return Advertisement(
        str(table_of(row, "aux").get("mac", "")), service={bthome_driver.UUID: data}
    )


def _payloads(adv: Mapping[str, object], name: str) -> dict[str, bytes]:
    return {key.lower(): unhex(text, name) for key, text in table_of(adv, name).items()}


def _company(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Refused("device.malformed-row", "manufacturer_data by company id, a number") from None


def _reported(event: bytes) -> Advertisement:
    """An LE advertising report of the Bluetooth Core Specification, volume 4 part E, 7.7.65.2 and 7.7.65.13."""
    kind = event[3] if len(event) > 3 else -1
    if kind == _LEGACY and len(event) > 13:
        return _structures(event[12:6:-1], event[14 : 14 + event[13]])
    if kind == _EXTENDED and len(event) > 28:
        return _structures(event[13:7:-1], event[29 : 29 + event[28]])
    raise FrameError("no whole LE advertising report")


def _structures(address: bytes, data: bytes) -> Advertisement:
    service: dict[str, bytes] = {}
    manufacturer: dict[int, bytes] = {}
    while data and data[0]:
        piece, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        if len(piece) >= 3 and piece[0] == 0x16:
            service[f"0000{piece[2]:02x}{piece[1]:02x}{_BASE}"] = piece[3:]
        elif len(piece) >= 3 and piece[0] == 0xFF:
            manufacturer[int.from_bytes(piece[1:3], "little")] = piece[3:]
    return Advertisement(address.hex(":"), manufacturer, service)
