"""Sensirion SHDLC, the frames of SPS30 and others on UART: address, command, length, data, inverted sum.

Source: Sensirion SHDLC protocol as in the SPS30 data sheet, section 5. An answer carries a state after the command.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import FrameError
from lamppost_drivers.framing import ShdlcFraming, first, stuff

NOT_ALLOWED = 0x43  # the command is not allowed in this state of the device


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device answered; `state` 0 is good, bit 7 says that the device has an error of its own."""

    address: int
    command: int
    state: int
    data: bytes


def request(command: int, data: bytes = b"", address: int = 0) -> bytes:
    """A whole frame to a device, stuffed and between flags."""
    body = bytes((address, command, len(data))) + data
    return b"\x7e" + stuff(body + bytes((~sum8(body) & 0xFF,))) + b"\x7e"


def answer(frame: bytes) -> Answer:
    """The fields of an unstuffed frame with its sum. Raises FrameError where sum or length are wrong."""
    if len(frame) < 5 or sum8(frame) != 0xFF or frame[3] != len(frame) - 5:
        raise FrameError("not an SHDLC answer: sum or length")
    return Answer(frame[0], frame[1], frame[2], frame[4:-1])


def answered(raw: bytes, command: int) -> Answer:
    """The answer to `command` in what came from the line. Raises FrameError where there is none."""
    got = answer(first(ShdlcFraming(), raw))
    if got.command != command:
        raise FrameError(f"answer to command {got.command:#04x}, not {command:#04x}")
    return got
