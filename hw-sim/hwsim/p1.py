"""A smart meter's P1 port: DSMR 5 telegrams with their CRC, unasked, or captured telegrams played back.

Form after "P1 Companion Standard 5.0.2": lines end in CR LF, the CRC-16/ARC covers all from `/` to `!`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hwsim.load import Phase, phase_quantities
from hwsim.streaming import Streaming

_WINTER = timezone(timedelta(hours=1))


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: polynomial 8005h reflected, begins with zero."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def telegram(identification: str, lines: list[str]) -> bytes:
    """A whole telegram: header, the object lines, `!` and the CRC in four hex digits."""
    text = f"/{identification}\r\n\r\n" + "".join(f"{line}\r\n" for line in lines) + "!"
    data = text.encode("ascii")
    return data + f"{crc16_arc(data):04X}\r\n".encode("ascii")


class P1Meter(Streaming):
    """A three-phase meter; 115200 8N1, `period` 1 s (DSMR 5) or 10 s (DSMR 4). `wrong_crc_every` n: 0 never."""

    def __init__(
        self, *, seed: int = 0, period: float = 1.0, started: datetime | None = None
    ) -> None:
        super().__init__(period)
        self.wrong_crc_every = 0
        self._phases = {name: Phase(f"p1/{seed}/{name}", 600.0) for name in ("l1", "l2", "l3")}
        self._started = started or datetime(2025, 1, 15, 12, 0, 0, tzinfo=_WINTER)
        self._count = 0

    def truth(self, now: float | None = None) -> dict[str, float]:
        """W, V, A and kWh at a moment, rounded as the telegram does; all energy is counted in tariff 2."""
        t = self.running(now) // 1
        each = {name: phase_quantities(phase, t) for name, phase in self._phases.items()}
        found: dict[str, float] = {"power": round(sum(q["power"] for q in each.values()))}
        found["energy.import"] = round(sum(q["energy.import"] for q in each.values()), 3)
        for name, values in each.items():
            found[f"voltage.{name}"] = round(values["voltage"], 1)
            found[f"current.{name}"] = round(values["current"])
            found[f"power.{name}"] = round(values["power"])
        return {name: float(value) for name, value in found.items()}

    def frame(self, now: float) -> bytes:
        truth = self.truth(now)
        stamp = (self._started + timedelta(seconds=self.running(now) // 1)).astimezone(_WINTER)
        lines = [
            "1-3:0.2.8(50)",
            f"0-0:1.0.0({stamp:%y%m%d%H%M%S}W)",
            "0-0:96.1.1(4530303033303030303030303030303030)",
            "1-0:1.8.1(000000.000*kWh)",
            f"1-0:1.8.2({truth['energy.import']:010.3f}*kWh)",
            "1-0:2.8.1(000000.000*kWh)",
            "1-0:2.8.2(000000.000*kWh)",
            "0-0:96.14.0(0002)",
            f"1-0:1.7.0({truth['power'] / 1000:06.3f}*kW)",
            "1-0:2.7.0(00.000*kW)",
        ]
        for name, code in (("l1", 0), ("l2", 20), ("l3", 40)):
            lines.append(f"1-0:{32 + code}.7.0({truth[f'voltage.{name}']:05.1f}*V)")
            lines.append(f"1-0:{31 + code}.7.0({truth[f'current.{name}']:03.0f}*A)")
            lines.append(f"1-0:{21 + code}.7.0({truth[f'power.{name}'] / 1000:06.3f}*kW)")
            lines.append(f"1-0:{22 + code}.7.0(00.000*kW)")
        said = telegram("LMP5HWSIM", lines)
        self._count += 1
        if self.wrong_crc_every and self._count % self.wrong_crc_every == 0:
            wrong = f"{int(said[-6:-2], 16) ^ 0xFFFF:04X}\r\n"
            said = said[:-6] + wrong.encode("ascii")
        return said
