"""Cut a byte stream into checked frames: no I/O, no clock, bounded memory.

A `Framing` holds settings only; a `Framer` holds the bytes of one stream. A framing first drops what cannot belong
to a frame, then gives the frame with nothing before it, so that `Framer.dropped` counts every byte that was lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lamppost_drivers.checksum import sum8
from lamppost_drivers.contract import FrameError, Framing

Check = Callable[[bytes], bool]

_PIECE = 1024  # bytes looked at in one go: a large chunk costs no more than many small ones
_WAIT: tuple[int, None] = (0, None)


class Framer:
    """Feeds bytes of one stream to a framing; `dropped` counts bytes that belonged to no sound frame."""

    def __init__(self, framing: Framing, limit: int = 16384) -> None:
        self._framing = framing
        self._limit = limit
        self._buffer = b""
        self.dropped = 0

    @property
    def held(self) -> int:
        """Bytes kept for a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The sound frames that `data` completes, oldest first. Consume the iterator, or bytes are not taken."""
        for start in range(0, len(data), _PIECE):
            self._buffer += data[start : start + _PIECE]
            yield from self._cut()

    def reset(self) -> None:
        """Forget a frame begun before the port closed."""
        self.dropped += len(self._buffer)
        self._buffer = b""

    def _cut(self) -> Iterator[bytes]:
        while self._buffer:
            drop, frame = self._framing.cut(self._buffer)
            if frame is not None:
                self._buffer = self._buffer[drop:]
                yield frame
            elif drop > 0:
                self.dropped += drop
                self._buffer = self._buffer[drop:]
            else:
                break
        if len(self._buffer) > self._limit:  # a framing that waits for ever
            self.reset()


def seek(buffer: bytes, header: bytes) -> int:
    """Bytes before the first place where `header` stands or may have begun."""
    found = buffer.find(header)
    if found >= 0:
        return found
    for length in range(min(len(header) - 1, len(buffer)), 0, -1):
        if buffer.endswith(header[:length]):
            return len(buffer) - length
    return len(buffer)


@dataclass(frozen=True, slots=True)
class FixedFraming(Framing):
    """A header, then a fixed number of bytes (`length` counts the header too), then a check over the whole."""

    header: bytes
    length: int
    check: Check

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        """See `Framing.cut`."""
        if start := seek(buffer, self.header):
            return start, None
        if len(buffer) < self.length:
            return _WAIT
        frame = buffer[: self.length]
        return (self.length, frame) if self.check(frame) else (1, None)


@dataclass(frozen=True, slots=True)
class DelimitedFraming(Framing):
    """A start, then text up to a pattern that ends it: ASCII lines, P1 telegrams. At most `limit` bytes."""

    start: bytes
    end: re.Pattern[bytes]
    limit: int
    check: Check

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        """See `Framing.cut`."""
        if start := seek(buffer, self.start):
            return start, None
        ended = self.end.search(buffer, len(self.start), self.limit)
        if ended is None:
            return (1, None) if len(buffer) >= self.limit else _WAIT
        frame = buffer[: ended.end()]
        return (len(frame), frame) if self.check(frame) else (1, None)


@dataclass(frozen=True, slots=True)
class ShdlcFraming(Framing):
    """Sensirion SHDLC: flags 7Eh around stuffed bytes, the last one the inverted sum.

    Frames come unstuffed, without flags.
    """

    limit: int = 600  # 255 bytes of data and 6 of frame, all of them stuffed

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        """See `Framing.cut`."""
        if start := seek(buffer, b"\x7e"):
            return start, None
        end = buffer.find(b"\x7e", 1, self.limit)
        if end < 0:
            return (1, None) if len(buffer) >= self.limit else _WAIT
        frame = unstuff(buffer[1:end])
        if frame is None or len(frame) < 5 or sum8(frame) != 0xFF:
            return end, None  # the flag that ends this may begin the next
        return end + 1, frame


_STUFFED = {0x5E: 0x7E, 0x5D: 0x7D, 0x31: 0x11, 0x33: 0x13}


def unstuff(data: bytes) -> bytes | None:
    """Take SHDLC byte stuffing out; None where an escape stands before a byte that needs none."""
    plain = bytearray()
    escaped = False
    for byte in data:
        if escaped:
            if byte not in _STUFFED:
                return None
            plain.append(_STUFFED[byte])
            escaped = False
        elif byte == 0x7D:
            escaped = True
        else:
            plain.append(byte)
    return None if escaped else bytes(plain)


def stuff(data: bytes) -> bytes:
    """Put SHDLC byte stuffing in."""
    escapes = {plain: bytes((0x7D, code)) for code, plain in _STUFFED.items()}
    return b"".join(escapes.get(byte, bytes((byte,))) for byte in data)


@dataclass(frozen=True, slots=True)
class MbusFraming(Framing):
    """EN 13757-2: E5h, short frames 10h..16h, long frames 68h L L 68h..16h with the sum of C to the last data byte."""

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        """See `Framing.cut`."""
        kind = buffer[0]
        if kind == 0xE5:
            return 1, buffer[:1]
        if kind == 0x10:
            return self._whole(buffer, 5, 1)
        if kind != 0x68:
            return 1, None
        if len(buffer) < 4:
            return _WAIT
        length = buffer[1]
        if buffer[2] != length or buffer[3] != 0x68 or length < 3:
            return 1, None
        return self._whole(buffer, length + 6, 4)

    @staticmethod
    def _whole(buffer: bytes, length: int, first: int) -> tuple[int, bytes | None]:
        if len(buffer) < length:
            return _WAIT
        frame = buffer[:length]
        sound = frame[-1] == 0x16 and frame[-2] == sum8(frame[first:-2])
        return (length, frame) if sound else (1, None)


def first(framing: Framing, data: bytes) -> bytes:
    """The first sound frame in what a device answered. Raises FrameError where there is none."""
    for frame in Framer(framing).feed(data):
        return frame
    raise FrameError(f"no sound frame in {len(data)} bytes")
