"""M-Bus link layer: requests to meters, and the frames they answer with. Source: EN 13757-2, clause 5.7 and annex A."""

from __future__ import annotations

from dataclasses import dataclass

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import FrameError

ACK = b"\xe5"
SELECTED = 0xFD  # whoever was selected by its secondary address
LONGEST = 261
_SND_NKE, _REQ_UD2, _SND_UD, _FCB, _FCV = 0x40, 0x4B, 0x43, 0x20, 0x10
_RESPONSES = (0x08, 0x18, 0x28, 0x38)  # RSP_UD with or without access demand and flow control
_CI_ERROR, _CI_ALARM = 0x70, 0x71
_ERRORS = (
    "unspecified error", "CI field not implemented", "buffer too long", "too many records", "premature end of record",
    "more than 10 DIFE", "more than 10 VIFE", "reserved", "application busy", "too many read-outs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """A long frame that a meter sent: its address, its CI field, and what follows that."""

    address: int
    ci: int
    data: bytes


def reset(address: int) -> bytes:
    """SND_NKE: forget the frame count bit; a meter answers E5h."""
    return _short(_SND_NKE, address)


def ask(address: int, toggled: bool) -> bytes:
    """REQ_UD2: send your values; `toggled` is the frame count bit, true in the first request after a reset."""
    return _short(_REQ_UD2 | _FCV | (_FCB if toggled else 0), address)


def select(identification: int, known: int = 8) -> bytes:
    """SND_UD with CI 52h: select the meter with this number of eight digits, whoever made it.

    `known`: only so many of its first digits must fit (the nibble Fh matches any, EN 13757-7).
    """
    digits = f"{identification:08d}" if identification <= 99_999_999 else "0" * 8
    number = bytes.fromhex(digits[:known].ljust(8, "f"))[::-1]
    body = bytes((_SND_UD | _FCV | _FCB, SELECTED, 0x52)) + number + b"\xff\xff\xff\xff"
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum8(body), 0x16))


def _short(control: int, address: int) -> bytes:
    return bytes((0x10, control, address, sum8(bytes((control, address))), 0x16))


def answer(frame: bytes) -> Answer:
    """The parts of a long frame. Raises FrameError where it is not sound, no response, or an error of the meter."""
    if len(frame) < 9 or frame[0] != 0x68 or frame[3] != 0x68 or frame[1] != frame[2]:
        raise FrameError("not a long frame")
    if len(frame) != frame[1] + 6 or frame[-1] != 0x16 or frame[-2] != sum8(frame[4:-2]):
        raise FrameError("long frame with a wrong length, sum or stop")
    control, address, ci = frame[4:7]
    if control not in _RESPONSES:
        raise FrameError(f"control field {control:#04x} is no response")
    if ci == _CI_ERROR:
        code = frame[7] if len(frame) > 9 else 0
        raise FrameError(
            f"the meter reports: {_ERRORS[code] if code < len(_ERRORS) else f'error {code}'}"
        )
    if ci == _CI_ALARM:
        raise FrameError("the meter sent an alarm in place of values")
    return Answer(address, ci, frame[7:-2])
