"""Commands to Nova SDS sensors, 19 bytes each (Laser Dust Sensor Control Protocol V1.3)."""

from lamppost_drivers.checksum import sum8

ACTIVE, QUERY = bytes((2, 1, 0)), bytes((2, 1, 1))
ASK, SLEEP, WORK, FIRMWARE = bytes((4,)), bytes((6, 1, 0)), bytes((6, 1, 1)), bytes((7,))
ANY = 0xFFFF


def working_period(minutes: int) -> bytes:
    """Measure for 30 s every so many minutes (0 to 30), and sleep between; 0: always."""
    return bytes((8, 1, minutes))


def command(data: bytes, device: int = ANY) -> bytes:
    """A command to one device, or to any."""
    body = data.ljust(13, b"\0") + device.to_bytes(2)
    return b"\xaa\xb4" + body + bytes((sum8(body), 0xAB))
