"""What a Modbus line brought: sound frames, our own echo, breaks, rubbish. Pure.

Frames are found by their CRC alone, wherever they begin: what stands between them is rubbish and is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lamppost.diagnosis.facts import Trial
from lamppost.diagnosis.wire.line import Heard
from lamppost_drivers.checksum import crc16_arc

_SHORTEST, _LONGEST = 4, 256
_READS = (1, 2, 3, 4)
_REQUEST = 8
_GLITCH = 2
"""Bytes that the switching of a driver may bring."""


def crc(frame: bytes) -> bytes:
    """CRC-16/MODBUS as it stands on the wire (Modbus over serial line 1.02, clause 2.5.1.2)."""
    return crc16_arc(frame, 0xFFFF).to_bytes(2, "little")


def read_frame(unit: int, function: int, address: int, count: int) -> bytes:
    """A request to read. Only functions 1 to 4 can be asked for: this engine never writes."""
    if function not in _READS:
        raise ValueError(f"function {function} does not read")
    body = bytes((unit, function)) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
    return body + crc(body)


@dataclass(frozen=True, slots=True)
class Split:
    """Sound frames in the order in which they came, and how many bytes belonged to none."""

    frames: tuple[bytes, ...]
    rubbish: bytes


def split(data: bytes) -> Split:
    """Find the sound frames."""
    frames: list[bytes] = []
    rubbish = bytearray()
    at = 0
    while at < len(data):
        frame = next(_candidates(data, at), b"")
        if frame:
            frames.append(frame)
            at += len(frame)
        else:
            rubbish.append(data[at])
            at += 1
    return Split(tuple(frames), bytes(rubbish))


def _candidates(data: bytes, at: int) -> Iterator[bytes]:
    """Frames with a right CRC that begin here: an exception, an answer of its own length, a request."""
    head = data[at : at + 3]
    if len(head) < 3:
        return
    function = head[1]
    lengths = [5] if function & 0x80 else []
    if function in _READS:
        lengths = [head[2] + 5, _REQUEST]
    elif function in (5, 6, 15, 16):
        lengths = [_REQUEST]
    for length in lengths:
        frame = data[at : at + length]
        if _SHORTEST <= len(frame) == length <= _LONGEST and crc(frame[:-2]) == frame[-2:]:
            yield frame


def is_request(frame: bytes) -> bool:
    """Whether a sound frame can only be somebody's request to read."""
    answers = frame[1] in _READS and frame[2] + 5 == len(frame)
    return len(frame) == _REQUEST and frame[1] in (*_READS, 5, 6) and not answers


def judged(request: bytes, heard: Heard, line: str, timeout: float) -> Trial:
    """What a request came to."""
    data, unit, function = heard.data, request[0], request[1]
    echo = len(request) > 0 and data.startswith(request)
    if echo:
        data = data[len(request) :]
    found = split(data)
    mine = [f for f in found.frames if f[0] == unit and f[1] & 0x7F == function]
    others = [f for f in found.frames if f not in mine]
    zeros = sum(byte == 0 for byte in found.rubbish)
    wanted = 5 + 2 * int.from_bytes(request[4:6], "big") if function in (3, 4) else 6
    answers = [f for f in mine if f[1] & 0x80 or len(f) == wanted or function < 3]
    late = heard.first if echo is False and heard.pieces else 0.0
    made = _Made(line, echo, zeros, wanted, heard, len(data))
    if not answers:
        # Breaks are no answer, nor a byte or two; and a sound frame of somebody else is not this unit's.
        silent = len(found.rubbish) - zeros <= _GLITCH
        return made.trial("silent" if silent else "damaged", extra=[f.hex() for f in others])
    first, rest = answers[0], [f.hex() for f in answers[1:] + others]
    if len(found.rubbish) - zeros > 2:  # a glitch of a byte or two is the switching of a driver
        rest.append(found.rubbish.hex())
    outcome = "late" if late > timeout else "good"
    if first[1] & 0x80:
        return made.trial("refused", exception=first[2], extra=rest)
    words = first[3:-2]
    values = [int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2)]
    return made.trial(outcome, extra=rest, values=values if function in (3, 4) else list(words))


@dataclass(frozen=True, slots=True)
class _Made:
    line: str
    echo: bool
    zeros: int
    wanted: int
    heard: Heard
    got: int

    def trial(
        self,
        outcome: str,
        *,
        exception: int = 0,
        extra: list[str] | None = None,
        values: list[int] | None = None,
    ) -> Trial:
        return Trial(
            line=self.line,
            outcome=outcome,
            echo=self.echo,
            exception=exception,
            ms=round(self.heard.first * 1000, 1),
            got=self.got,
            wanted=self.wanted,
            heard=self.heard.data[:64].hex(),
            zeros=self.zeros,
            extra=extra or [],
            values=values or [],
        )
