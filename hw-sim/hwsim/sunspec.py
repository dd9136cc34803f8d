"""A solar inverter that describes itself: SunSpec's common model and model 103 (three phases, integers) at 40000.

Layout after the SunSpec Information Model Specification; what this inverter does not have says "not implemented".
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from hwsim.modbus_pdu import ILLEGAL_ADDRESS, Refusal, Unit

BASE = 40000
_NONE, _NONE_U = 0x8000, 0xFFFF
_MINUS_1, _MINUS_2, _ZERO = 0xFFFF, 0xFFFE, 0


def _text(said: str, registers: int) -> list[int]:
    data = said.encode("ascii").ljust(2 * registers, b"\0")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, 2 * registers, 2)]


class SunSpecInverter(Unit):
    """An inverter of `watts` peak under clouds that drift; its energy grows `pace` times as fast as ours."""

    def __init__(self, *, seed: int = 0, watts: float = 20_000.0, pace: float = 1.0) -> None:
        super().__init__(max_words=125)
        self._phase = seed * 1.7
        self._peak, self._pace = watts, pace
        self._epoch = time.monotonic()
        self._serial = f"HWSIM{seed:05d}"
        self.holding = self

    def truth(self, now: float | None = None) -> dict[str, float]:
        """W, Hz, V and kWh at a moment, as the registers say them."""
        passed = max(0.0, (time.monotonic() if now is None else now) - self._epoch) // 1
        share = 0.6 + 0.3 * math.sin(passed / 20 + self._phase)
        energy = round(5_000_000 + self._peak * 0.6 * passed * self._pace / 3600)
        unit = 10 ** max(0, math.ceil(math.log10(max(self._peak, 1) / 32_000)))
        return {
            "power": float(round(self._peak * share / unit) * unit),
            "frequency": 50.0,
            "voltage": 230.0,
            "energy.export": energy / 1000,
        }

    def read(self, address: int, count: int, now: float) -> Sequence[int]:
        """Registers of the chain; all else is refused."""
        words = self._chain(now)
        start = address - BASE
        if start < 0 or start + count > len(words):
            raise Refusal(ILLEGAL_ADDRESS)
        return words[start : start + count]

    def write(self, address: int, values: Sequence[int], now: float) -> None:
        del address, values, now
        raise Refusal(ILLEGAL_ADDRESS)

    def _chain(self, now: float) -> list[int]:
        common = [*_text("SunS", 2), 1, 66, *_text("hwsim", 16), *_text("PV", 16)]
        common += [*_text("", 8), *_text("1.0", 8), *_text(self._serial, 16), 1, _NONE_U]
        return [*common, *self._model_103(now), 0xFFFF, 0]

    def _model_103(self, now: float) -> list[int]:
        truth = self.truth(now)
        power, scale = truth["power"], 0
        while power / 10**scale > 32_000:
            scale += 1
        amperes = round(power / 3 / 230)
        watts = round(power / 10**scale)
        energy = round(truth["energy.export"] * 1000)
        return [
            103, 50, 3 * amperes, amperes, amperes, amperes, _ZERO,
            *([_NONE_U] * 3), 2300, 2300, 2300, _MINUS_1, watts, scale, 5000, _MINUS_2,
            watts, scale, 0, scale, 1000, _MINUS_1, energy >> 16, energy & 0xFFFF, _ZERO,
            _NONE_U, _NONE, 6000, _MINUS_1, watts, scale, 350, _NONE, _NONE, _NONE, _MINUS_1,
            4, _NONE_U, *([0] * 12),
        ]  # fmt: skip
