"""Captured bytes that go *to* a device: which command or request they are. They hold no measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lamppost.cli.captured_row import Decoded, Refused, Row, data_of
from lamppost_drivers.air import honeywell, nova_commands
from lamppost_drivers.checksum import crc16_arc
from lamppost_drivers.contract import Driver, FrameError

Find = Callable[[str], Driver]

_NOVA: Mapping[bytes, str] = {
    nova_commands.ACTIVE: "active mode",
    nova_commands.QUERY: "passive mode",
    nova_commands.ASK: "passive read",
    nova_commands.SLEEP: "sleep",
    nova_commands.WORK: "wake",
    nova_commands.FIRMWARE: "firmware version",
}
_HPMA_READ, _HPMA_WRITE, _HPMA_MASS = 0x10, 0x08, 0x04
_REQUEST, _READS = 8, (1, 2, 3, 4)


def nova(row: Row, find: Find) -> Decoded | None:
    """A command to an SDS sensor: its name, the device, and the minutes of a working period."""
    del find
    data = data_of(row) if "command" in str(row.get("model")) else b""
    if not data:
        return None
    body, device = data[2:15].rstrip(b"\0"), int.from_bytes(data[15:17])
    said: dict[str, Any] = {"device": "any" if device == nova_commands.ANY else f"{device:04X}"}
    if data[2:4] == b"\x08\x01":
        minutes = data[4]
        said |= {"command": "working period", "minutes": minutes}
        made = nova_commands.command(nova_commands.working_period(minutes), device)
    else:
        found = next((each for each in _NOVA if each.rstrip(b"\0") == body), None)
        said["command"] = _NOVA.get(found or b"", "unknown")
        made = nova_commands.command(found or body, device)
    if made != data:
        raise FrameError("not a command to an SDS sensor: head, length, sum or tail")
    return Decoded((), {}, said)


def honeywell_hpma(row: Row, find: Find) -> Decoded | None:
    """A command to an HPMA sensor: its name, and the coefficient it sets."""
    del find
    data = data_of(row) if "command" in str(row.get("model")) else b""
    if not data:
        return None
    if honeywell.command(*data[2:-1]) != data or not data[2:-1]:
        raise FrameError("not a command to an HPMA sensor: head, length or check")
    names = {_HPMA_READ: "read coefficient", _HPMA_WRITE: "write coefficient", _HPMA_MASS: "read"}
    said: dict[str, Any] = {"command": names.get(data[2], "unknown")}
    return Decoded((), {}, {**said, "value": data[3]} if len(data) > 4 else said)


def modbus_request(data: bytes) -> dict[str, int] | None:
    """Unit, function, address and count of a request to read, or None where these bytes are none."""
    if len(data) != _REQUEST or data[1] not in _READS:
        return None
    if crc16_arc(data[:-2], 0xFFFF) != int.from_bytes(data[-2:], "little"):
        return None
    address, count = int.from_bytes(data[2:4]), int.from_bytes(data[4:6])
    return {"unit": data[0], "function": data[1], "address": address, "count": count}


def modbus(row: Row, find: Find, known: Callable[[Row, Find], Driver]) -> Decoded | None:
    """A request to read; or an answer of a device that no model is for, as its registers and their text."""
    data = data_of(row) if "input_hex" in row else b""
    if request := modbus_request(data):
        return Decoded((), {}, {"request": request})
    try:
        known(row, find)
    except Refused:
        if len(data) < 5 or data[2] != len(data) - 5:
            raise
        if crc16_arc(data[:-2], 0xFFFF) != int.from_bytes(data[-2:], "little"):
            raise FrameError("wrong CRC") from None
        payload = data[3:-2]
        said: dict[str, Any] = {
            "unit": data[0],
            "function": data[1],
            "registers_hex": payload.hex(),
        }
        text = payload.rstrip(b"\0 ").decode("latin-1")
        return Decoded(
            (), {}, {**said, "text": text} if text.isascii() and text.isprintable() else said
        )
    return None
