"""Devices for a simulated I2C bus: Sensirion SHT4x, SCD4x and SPS30, Bosch BME280 and BME680, TI ADS1115.

Each has the true values as attributes that a test may set. Sensirion's also have `bad_crc`: every word they send
then carries a wrong check.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from hwsim.i2c import Nack


def crc8(data: bytes) -> int:
    """Sensirion's check: polynomial 31h, begins with FFh (BE EF gives 92h)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


class _Sensirion:
    """Commands of one or two bytes, words of two with a check each; no acknowledgement while it works."""

    def __init__(self) -> None:
        self.bad_crc = False
        self._answer = b""
        self._ready = 0.0

    def _say(self, words: Iterable[int], now: float, delay: float = 0.001) -> None:
        said = bytearray()
        for word in words:
            pair = struct.pack(">H", max(0, min(0xFFFF, round(word))))
            said += pair + bytes((crc8(pair) ^ self.bad_crc,))
        self._answer, self._ready = bytes(said), now + delay

    def read(self, count: int, now: float) -> bytes:
        if not self._answer or now < self._ready:
            raise Nack
        said, self._answer = self._answer[:count], b""
        return said


def _share(value: float, offset: float, span: float) -> float:
    return (value + offset) / span * 65535


class Sht4x(_Sensirion):
    """SHT40, SHT41, SHT45 at 44h: one-byte commands, a measurement takes up to 8.3 ms."""

    def __init__(
        self, temperature: float = 21.5, humidity: float = 48.0, serial: int = 0x0F2B1C3D
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.humidity = humidity
        self._serial = serial

    def write(self, data: bytes, now: float) -> None:
        delays = {0xFD: 0.0083, 0xF6: 0.0045, 0xE0: 0.0016}
        if data[:1] and data[0] in delays:
            words = (_share(self.temperature, 45, 175), _share(self.humidity, 6, 125))
            self._say((round(word) for word in words), now, delays[data[0]])
        elif data[:1] == b"\x89":
            self._say((self._serial >> 16, self._serial & 0xFFFF), now)
        elif data[:1] == b"\x94":
            self._answer = b""
        elif data:
            raise Nack


class Scd4x(_Sensirion):
    """SCD40 and SCD41 at 62h: after the start command a value every 5 s; it obeys little else meanwhile."""

    def __init__(
        self, co2: float = 650.0, temperature: float = 22.0, humidity: float = 40.0
    ) -> None:
        super().__init__()
        self.co2, self.temperature, self.humidity = co2, temperature, humidity
        self.serial = (0x1234, 0x5678, 0x9ABC)
        self._next: float | None = None

    def write(self, data: bytes, now: float) -> None:
        command = int.from_bytes(data[:2], "big")
        ready = self._next is not None and now >= self._next
        if command == 0x21B1:
            self._next = now + 5.0
        elif command == 0x3F86:
            self._next = None
        elif command == 0xE4B8:
            self._say((0x8006 if ready else 0x8000,), now)
        elif command == 0xEC05 and ready:
            self._next = now + 5.0
            words = (self.co2, _share(self.temperature, 45, 175), _share(self.humidity, 0, 100))
            self._say((round(word) for word in words), now)
        elif command == 0x3682 and self._next is None:
            self._say(self.serial, now)
        else:
            raise Nack


class Sps30(_Sensirion):
    """SPS30 at 69h: starts with floats, then ten values every second; sleeps between."""

    def __init__(self, values: Sequence[float] = (5, 6, 6.5, 7, 30, 40, 42, 43, 44, 0.6)) -> None:
        super().__init__()
        self.values = list(values)
        """Mass PM1, 2.5, 4, 10 (ug/m3), number PM0.5, 1, 2.5, 4, 10 (1/cm3), typical size (um)."""
        self.serial = b"0123456789ABCDEF"
        self._next: float | None = None

    def write(self, data: bytes, now: float) -> None:
        command = int.from_bytes(data[:2], "big")
        ready = self._next is not None and now >= self._next
        if command == 0x0010:
            if len(data) != 5 or data[2] != 3 or crc8(data[2:4]) != data[4]:
                raise Nack
            self._next = now + 1.0
        elif command == 0x0104:
            self._next = None
        elif command == 0x0202:
            self._say((int(ready),), now)
        elif command == 0x0300 and self._next is not None:
            if ready:
                self._next = now + 1.0
            self._say(struct.unpack(">20H", struct.pack(">10f", *self.values)), now)
        elif command == 0xD033:
            self._say(struct.unpack(">16H", self.serial.ljust(32, b"\0")), now)
        elif command == 0xD100:
            self._say((0x0202,), now)
        elif command not in (0x5607, 0xD304):
            raise Nack


class Registers:
    """A device with a register pointer that counts up, as most chips have; `width` bytes a register."""

    def __init__(self, cells: dict[int, bytes] | None = None) -> None:
        self.memory = bytearray(256)
        for at, content in (cells or {}).items():
            self.memory[at : at + len(content)] = content
        self.pointer = 0

    def write(self, data: bytes, now: float) -> None:
        if data:
            self.pointer = data[0]
        for byte in data[1:]:
            self.written(self.pointer, byte, now)
            self.pointer = (self.pointer + 1) & 0xFF

    def written(self, at: int, byte: int, now: float) -> None:
        """A register is written."""
        del now
        self.memory[at] = byte

    def read(self, count: int, now: float) -> bytes:
        del now
        said = bytes(self.memory[(self.pointer + at) & 0xFF] for at in range(count))
        self.pointer = (self.pointer + count) & 0xFF
        return said


class Bme280(Registers):
    """BME280 at 76h or 77h with given calibration and raw values; in sleep mode its values stand still.

    `calibration`: the 26 bytes from 88h and the 7 from E1h; `raw`: the 8 bytes from F7h.
    """

    def __init__(self, calibration: tuple[bytes, bytes], raw: bytes) -> None:
        skipped = bytes.fromhex("8000008000008000")
        super().__init__({0xD0: b"\x60", 0x88: calibration[0], 0xE1: calibration[1], 0xF7: skipped})
        self.raw = raw

    def written(self, at: int, byte: int, now: float) -> None:
        if at == 0xE0 and byte == 0xB6:
            self.memory[0xF2:0xF6] = bytes(4)
            return
        super().written(at, byte, now)
        if at == 0xF4 and byte & 3:
            self.memory[0xF7:0xFF] = self.raw
            if byte & 3 != 3:  # forced: one measurement, then sleep
                self.memory[0xF4] = byte & ~3


class Bme680(Registers):
    """BME680 (variant 0) or BME688 (1) at 76h or 77h; without its heater or in sleep mode nothing new comes.

    `calibration`: the 23 bytes from 8Ah, the 14 from E1h, the 5 from 00h; `raw`: the 17 bytes from 1Dh, which are
    there `duration` seconds after a forced measurement was asked for.
    """

    def __init__(
        self,
        calibration: tuple[bytes, bytes, bytes],
        raw: bytes,
        variant: int = 0,
        duration: float = 0.19,
    ) -> None:
        cells = {0xD0: b"\x61", 0xF0: bytes((variant,)), 0x8A: calibration[0], 0xE1: calibration[1]}
        super().__init__({**cells, 0x00: calibration[2]})
        self.raw = raw
        self._duration = duration
        self._ready: float | None = None

    def written(self, at: int, byte: int, now: float) -> None:
        super().written(at, byte, now)
        if at == 0x74 and byte & 3 == 1:
            self.memory[0x1D] &= 0x7F
            self._ready = now + self._duration

    def read(self, count: int, now: float) -> bytes:
        if self._ready is not None and now >= self._ready:
            self._ready = None
            self.memory[0x1D : 0x1D + 17] = self.raw
            self.memory[0x74] &= ~3
            hot = self.memory[0x71] & 0x30 and self.memory[0x5A] and self.memory[0x64]
            if not hot or self.memory[0x70] & 0x08:
                for gas in (0x2B, 0x2D):
                    self.memory[gas] &= ~0x30
        return super().read(count, now)


class Ads1115:
    """ADS1115 at 48h to 4Bh: `volts` at its four inputs; a conversion takes as long as its data rate says."""

    _FULL_SCALE = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
    _PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))
    _RATES = (8, 16, 32, 64, 128, 250, 475, 860)

    def __init__(self, volts: Sequence[float] = (0.0, 0.0, 0.0, 0.0)) -> None:
        self.volts = list(volts)
        self._pointer = 0
        self._config = 0x8583
        self._thresholds = {2: 0x8000, 3: 0x7FFF}
        self._code = 0
        self._done = 0.0

    def write(self, data: bytes, now: float) -> None:
        if not data:
            return
        self._pointer = data[0] & 3
        if len(data) < 3:
            return
        word = int.from_bytes(data[1:3], "big")
        if self._pointer == 1:
            self._config = word & 0x7FFF
            if word & 0x8000 or not word & 0x0100:
                self._code = self._convert()
                self._done = now + 1 / self._RATES[word >> 5 & 7]
        elif self._pointer:
            self._thresholds[self._pointer] = word

    def _convert(self) -> int:
        mux = self._config >> 12 & 7
        plus, minus = (mux - 4, None) if mux >= 4 else self._PAIRS[mux]
        volts = self.volts[plus] - (0.0 if minus is None else self.volts[minus])
        code = round(volts / self._FULL_SCALE[self._config >> 9 & 7] * 32768)
        return max(-32768, min(32767, code))

    def read(self, count: int, now: float) -> bytes:
        if self._pointer == 0:
            return struct.pack(">h", self._code)[:count]
        if self._pointer == 1:
            return struct.pack(">H", self._config | (0x8000 if now >= self._done else 0))[:count]
        return struct.pack(">H", self._thresholds[self._pointer])[:count]
