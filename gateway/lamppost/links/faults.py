"""The errors of links: stable codes, and a hint that says what to do at the cabinet."""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Iterable
from pathlib import Path

from lamppost.errors import LinkError


class CorruptError(LinkError):
    """`link.corrupt`: bytes came, but no sound answer. `ended`: the answer is over, nothing of it can still come."""

    def __init__(self, message: str, *, ended: bool, hint: str) -> None:
        super().__init__(message, code="link.corrupt", hint=hint, retry=True)
        self.ended = ended


class RefusedError(LinkError):
    """`link.refused`: the device answered with the Modbus exception `number` (application protocol 1.1b3, clause 7)."""

    def __init__(self, message: str, number: int) -> None:
        meaning = _EXCEPTIONS.get(number, "an exception of its own")
        super().__init__(
            f"{message}: exception {number} ({meaning})",
            code="link.refused",
            hint=_EXCEPTION_HINTS.get(number, "look the number up in the device's manual"),
            retry=number in (5, 6, 10, 11),
        )
        self.number = number


_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
_EXCEPTION_HINTS = {
    1: "check that the model in the site file is the one in the cabinet",
    2: "check that the model in the site file is the one in the cabinet, and its firmware",
    3: "check that the model in the site file is the one in the cabinet",
    4: "the device reports a failure of its own: restart it, or replace it",
    5: "the device asks for patience; nothing to do unless it stays so",
    6: "the device asks for patience; poll it less often if it stays so",
    10: "check the serial settings of the Modbus gateway",
    11: "check power and wiring of the device behind the Modbus gateway",
}


def no_answer(what: str, seconds: float) -> LinkError:
    """`link.no-answer`: not one byte of an answer in time."""
    return LinkError(
        f"{what}: no answer within {seconds:g} s",
        code="link.no-answer",
        hint="check power, wiring (A and B), unit id, baud rate and parity of the device",
        retry=True,
    )


def not_acknowledged(where: str, address: int) -> LinkError:
    """`link.no-answer` of an I2C bus: nobody acknowledges this address, or not now."""
    return LinkError(
        f"{where}: nobody acknowledges address {address:#04x}",
        code="link.no-answer",
        hint=f"check power, SDA, SCL and the address of the device; see who is there with: i2cdetect -y {where[-1:]}",
        retry=True,
    )


def stuck(where: str, address: int) -> LinkError:
    """`link.stuck`: an I2C transfer did not end; SDA or SCL is held down, by this device or by another."""
    return LinkError(
        f"{where}: the transfer with address {address:#04x} did not end",
        code="link.stuck",
        hint="something holds SDA or SCL down: take the devices off one by one; power the one that did it off and on",
        retry=True,
    )


def pin_refused(pin: int, why: object) -> LinkError:
    """`link.busy`: a GPIO pin that another program or a kernel driver holds."""
    return LinkError(
        f"GPIO {pin}: {why}",
        code="link.busy",
        hint=f"see who holds it with: gpioinfo | grep GPIO{pin}; end that program, or use another pin",
        retry=True,
    )


def no_gpio(why: object) -> LinkError:
    """`link.missing`: no GPIO chip that this program may use."""
    return LinkError(
        f"GPIO: {why}",
        code="link.missing",
        hint="is this a Raspberry Pi, and is the user in the group gpio? ls -l /dev/gpiochip*",
        retry=True,
    )


def no_bluetooth(where: str, why: object) -> LinkError:
    """`link.missing`: no Bluetooth adapter, none that is switched on, or no bluetoothd."""
    return LinkError(
        f"{where}: {why}",
        code="link.missing",
        hint="is Bluetooth there and on? systemctl status bluetooth; rfkill list; bluetoothctl power on",
        retry=True,
    )


def silent(where: str, seconds: float) -> LinkError:
    """`link.silent`: a scan that hears no advertisement of anybody; it is begun anew."""
    return LinkError(
        f"{where}: not one advertisement in {seconds:g} s",
        code="link.silent",
        hint="the scan is begun anew; if it stays so: bluetoothctl power off, power on; check the antenna",
        retry=True,
    )


def not_heard(address: str, seconds: float) -> LinkError:
    """`link.no-answer` of a device that ought to advertise."""
    return LinkError(
        f"{address}: not heard for {seconds:g} s",
        code="link.no-answer",
        hint="check battery, distance and address of the device; see who is heard with: bluetoothctl scan le",
        retry=True,
    )


def no_key(name: str, why: str) -> LinkError:
    """`link.no-key`: the credential that the site file names is not there, or is no key."""
    return LinkError(
        f"credential {name}: {why}",
        code="link.no-key",
        hint=f"put the key, 32 hexadecimal digits, into credentials/{name} of the state folder, mode 600",
        retry=True,
    )


def not_kept(path: Path, why: OSError) -> LinkError:
    """`link.not-kept`: counts cannot be made durable; they go on in memory."""
    return LinkError(
        f"{path}: {why.strerror or why}",
        code="link.not-kept",
        hint="counts would be lost at a restart: make room on the disk, or mount it writable",
        retry=True,
    )


def not_installed(what: str, extra: str) -> LinkError:
    """`link.not-installed`: the library below a link is absent."""
    return LinkError(
        f"{what}: its library is not installed",
        code="link.not-installed",
        hint=f"install it: pip install 'lamppost[{extra}]'; then restart the gateway",
    )


def corrupt(what: str, got: bytes, *, ended: bool, echo: bool = False) -> CorruptError:
    """`link.corrupt`; `echo`: what came back is our own request."""
    if echo:
        message = f"{what}: our own request came back"
        hint = "the adapter does not switch its receiver off while sending: check its direction control or echo setting"
        return CorruptError(message, ended=ended, hint=hint)
    hint = "check termination, bias and shield of the line, parity, and that no two devices share a unit id"
    return CorruptError(f"{what}: damaged answer {got[:40].hex()}", ended=ended, hint=hint)


def lost(where: str, why: object = "hung up") -> LinkError:
    """`link.lost`: it was open and is no more."""
    return LinkError(
        f"{where}: lost ({why})",
        code="link.lost",
        hint="check the plug; the link is opened again as soon as it is back",
        retry=True,
    )


def cannot_open(path: Path, why: OSError, holder: str = "") -> LinkError:
    """Why a port does not open: `link.missing`, `link.busy`, `link.permission` or `link.settings`."""
    if why.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR, errno.EIO):
        return LinkError(
            f"{path}: no such port",
            code="link.missing",
            hint="plug the adapter in; see what is there with: ls -l /dev/serial/by-id",
            retry=True,
        )
    if why.errno in (errno.EBUSY, errno.EWOULDBLOCK, errno.EAGAIN):
        by = holder or "another process"
        return LinkError(
            f"{path}: held by {by}",
            code="link.busy",
            hint=f"end {by}, or give it another port",
            retry=True,
        )
    if why.errno in (errno.EACCES, errno.EPERM):
        group = _group_of(path)
        return LinkError(
            f"{path}: no permission",
            code="link.permission",
            hint=f"add the user to the group {group}: sudo usermod -aG {group} $USER; then log in again",
        )
    return LinkError(
        f"{path}: {why.strerror or why}",
        code="link.settings",
        hint="the port does not do this baud rate, parity or stop bits; check the site file",
    )


def cannot_connect(where: str, why: str) -> LinkError:
    """Why a TCP connection does not come about: always `link.missing`."""
    return LinkError(
        f"{where}: {why}",
        code="link.missing",
        hint=f"check power, cable and address of the device; try: nc -vz {where.replace(':', ' ')}",
        retry=True,
    )


def lease_over() -> LinkError:
    """`link.lease-over`: the time is up, or nothing was heard of the holder for too long, or it was given back."""
    return LinkError(
        "the lease of the bus is over",
        code="link.lease-over",
        hint="ask for another one",
        retry=True,
    )


def unknown(name: str, known: Iterable[str]) -> LinkError:
    """`link.unknown`: no device of the site is on a link of this name."""
    return LinkError(
        f"{name}: no link of that name is in use",
        code="link.unknown",
        hint=f"links in use: {', '.join(known)}",
    )


def no_exchange(name: str, kind: str, what: str) -> LinkError:
    """`link.no-exchange`: this kind of link cannot do that."""
    return LinkError(
        f"{name}: a link of kind {kind} carries no {what}",
        code="link.no-exchange",
        hint="use a link on which devices answer: serial, modbus-rtu, modbus-tcp, mbus, mbus-tcp, i2c",
    )


def not_open(where: str) -> LinkError:
    """`link.lost` for use before `open` or after `close`."""
    return lost(where, "not open")


def _group_of(path: Path) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
