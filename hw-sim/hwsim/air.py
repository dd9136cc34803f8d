"""Particle sensors on a UART: Plantower PMS5003 and Nova SDS011, speaking unasked and obeying commands.

Frames as the makers' data sheets give them. Values are a pure function of time and seed: `truth(now)`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from hwsim.device import Reply
from hwsim.streaming import Streaming

_PMS_WORDS = 13


class _Particles(Streaming):
    """What both sensors measure."""

    def __init__(self, seed: int, period: float) -> None:
        super().__init__(period)
        rng = random.Random(seed)
        self._level = rng.uniform(6.0, 25.0)
        self._phase = rng.uniform(0, math.tau)

    def _mass(self, now: float | None) -> float:
        """PM2.5 in ug/m3, drifting over minutes."""
        t = self.running(now)
        return self._level * (
            1 + 0.3 * math.sin(math.tau * t / 240 + self._phase) + 0.1 * math.sin(t / 7)
        )


class Pms5003(_Particles):
    """Plantower PMS5003: 32-byte frames every `period` s; all zero for `warm_up` s after power and wake-up."""

    def __init__(self, *, seed: int = 0, period: float = 1.0, warm_up: float = 3.0) -> None:
        super().__init__(seed, period)
        self._warm_up = warm_up

    def truth(self, now: float | None = None) -> dict[str, float]:
        """What is in the air, as the sensor rounds it: ug/m3 (`.cf1` and atmospheric), particles per cm3."""
        mass = self._mass(now)
        pm = {"pm1": 0.68 * mass, "pm25": mass, "pm10": 1.25 * mass}
        counts = {"pm03": 180.0, "pm05": 52.0, "pm1": 9.0, "pm25": 0.9, "pm5": 0.25, "pm10": 0.08}
        found = {f"{name}.cf1": float(round(value)) for name, value in pm.items()}
        found |= {name: float(round(value * 0.97)) for name, value in pm.items()}
        return found | {
            f"count.{size}": round(mass * share) / 100 for size, share in counts.items()
        }

    def warming_up(self, now: float) -> bool:
        """Whether the fan has only just started: every value is zero."""
        return now - self.awake_since < self._warm_up

    def frame(self, now: float) -> bytes:
        if self.warming_up(now):
            return plantower(bytes(2 * _PMS_WORDS))
        truth = self.truth(now)
        words = [
            round(value * (100 if name.startswith("count") else 1)) for name, value in truth.items()
        ]
        return plantower(b"".join(word.to_bytes(2, "big") for word in words) + b"\x97\x00")

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        if (
            len(frame) != 7
            or frame[:2] != b"BM"
            or sum(frame[:5]) != int.from_bytes(frame[5:], "big")
        ):
            return
        command, value = frame[2], frame[4]
        if command == 0xE4 and value == 1:
            self.wake(now)
        if self.asleep or self.silent:
            return
        if command == 0xE2:
            answer = self.next_frame(now)
            self.sent.append((now, answer))
            yield 0.01, answer
        elif command == 0xE1:
            self.active = value == 1
            self.next = now + self.period
            yield 0.01, plantower(bytes((command, value)))
        elif command == 0xE4:
            self.asleep = value == 0
            yield 0.01, plantower(bytes((command, value)))


def plantower(body: bytes) -> bytes:
    """`BM`, the length of what follows, the body, and the 16-bit sum of every byte before it."""
    frame = b"BM" + (len(body) + 2).to_bytes(2, "big") + body
    return frame + (sum(frame) & 0xFFFF).to_bytes(2, "big")


class Sds011(_Particles):
    """Nova SDS011: a 10-byte frame a second; obeys query, reporting mode, sleep and firmware commands."""

    def __init__(self, *, seed: int = 0, period: float = 1.0, device_id: int = 0xA160) -> None:
        super().__init__(seed, period)
        self._id = device_id.to_bytes(2, "big")

    def truth(self, now: float | None = None) -> dict[str, float]:
        """ug/m3 in steps of 0.1."""
        mass = self._mass(now)
        return {"pm25": round(mass * 10) / 10, "pm10": round(mass * 16) / 10}

    def frame(self, now: float) -> bytes:
        tenths = (round(value * 10) for value in self.truth(now).values())
        return self._say(0xC0, b"".join(value.to_bytes(2, "little") for value in tenths))

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        good = len(frame) == 19 and frame[:2] == b"\xaa\xb4" and frame[18] == 0xAB
        if (
            not good
            or sum(frame[2:17]) & 0xFF != frame[17]
            or frame[15:17] not in (b"\xff\xff", self._id)
        ):
            return
        command, setting, value = frame[2], frame[3], frame[4]
        if command == 6 and setting == 1 and value == 1:
            self.wake(now)
        if self.asleep or self.silent:
            return
        if command == 4:
            answer = self.next_frame(now)
            self.sent.append((now, answer))
            yield 0.01, answer
            return
        if command == 2 and setting == 1:
            self.active = value == 0
            self.next = now + self.period
        elif command == 6 and setting == 1:
            self.asleep = value == 0
        said = b"\x12\x07\x06" if command == 7 else frame[3:6]
        yield 0.01, self._say(0xC5, bytes((command,)) + said)

    def _say(self, kind: int, body: bytes) -> bytes:
        body += self._id
        return bytes((0xAA, kind)) + body + bytes((sum(body) & 0xFF, 0xAB))
