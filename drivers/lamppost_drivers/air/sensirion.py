"""Sensirion on I2C: 16-bit commands and words, each word followed by its CRC-8.

Source: the data sheets of SHT4x, SCD4x, SPS30, SEN5x.
"""

from __future__ import annotations

from lamppost_drivers.checksum import crc8_sensirion
from lamppost_drivers.contract import FrameError


def command(code: int, *arguments: int) -> bytes:
    """A command with its arguments, each with its CRC."""
    words = (argument.to_bytes(2) for argument in arguments)
    return code.to_bytes(2) + b"".join(word + bytes((crc8_sensirion(word),)) for word in words)


def words(raw: bytes, count: int) -> bytes:
    """The bytes of `count` words without their CRCs. Raises FrameError on a wrong length or CRC."""
    if len(raw) != 3 * count:
        raise FrameError(f"{len(raw)} bytes came, {3 * count} were asked for")
    plain = bytearray()
    for start in range(0, len(raw), 3):
        if crc8_sensirion(raw[start : start + 2]) != raw[start + 2]:
            raise FrameError(f"wrong CRC in word {start // 3}")
        plain += raw[start : start + 2]
    return bytes(plain)


def uint16(raw: bytes, count: int) -> tuple[int, ...]:
    """`count` checked words as unsigned numbers."""
    plain = words(raw, count)
    return tuple(int.from_bytes(plain[start : start + 2]) for start in range(0, len(plain), 2))
