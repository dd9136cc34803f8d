"""Checksums of the field, one function each: bytes in, number out."""

from __future__ import annotations


def sum8(data: bytes) -> int:
    """Low byte of the sum of all bytes (EN 13757-2, Nova, DFRobot)."""
    return sum(data) & 0xFF


def sum16(data: bytes) -> int:
    """Low 16 bits of the sum of all bytes (Plantower)."""
    return sum(data) & 0xFFFF


def crc8_sensirion(data: bytes) -> int:
    """CRC-8, polynomial 31h, start FFh, not reflected (Sensirion I2C; BE EF gives 92h)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def _reflected_table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ polynomial if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_A001 = _reflected_table(0xA001)


def crc16_arc(data: bytes, start: int = 0) -> int:
    """CRC-16/ARC, polynomial 8005h reflected, start 0 (DSMR P1); with start FFFFh it is the one of Modbus RTU."""
    crc = start
    for byte in data:
        crc = crc >> 8 ^ _A001[(crc ^ byte) & 0xFF]
    return crc
