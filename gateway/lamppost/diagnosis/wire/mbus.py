"""Examines a wired M-Bus: every meter is asked for its values, at other speeds too where all stay silent.

EN 13757-2: a reset (SND_NKE) and a request (REQ_UD2) change nothing in a meter; a selection only addresses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from lamppost.clock import Clock
from lamppost.diagnosis.facts import Line, Trial, Unit
from lamppost.diagnosis.wire.line import Heard, RawLine, text_of
from lamppost.diagnosis.wire.rtu import LISTEN, Tell
from lamppost.errors import LinkError
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import FrameError
from lamppost_drivers.mbus import frame

_ADAPTER, _BITS = 0.25, 330
_TRIES = 3
_ACK = b"\xe5"
_SELECTED = 0xFD


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter as the site has it: primary address, or the number on its plate."""

    device: str
    model: str
    unit: int | None
    secondary: str = ""


@dataclass(slots=True)
class _Seen:
    meter: Meter
    trials: list[Trial] = field(default_factory=list)
    swept: list[Trial] = field(default_factory=list)


class MbusExamination:
    """One M-Bus, looked at once."""

    def __init__(
        self,
        raw: RawLine,
        link: str,
        line: LineSettings,
        meters: Sequence[Meter],
        clock: Clock,
        until: float,
        tell: Tell,
    ) -> None:
        self._raw = raw
        self._link = link
        self._set = self._line = line
        self._seen = [_Seen(meter) for meter in meters]
        self._clock = clock
        self._until = until
        self._tell = tell

    async def run(self) -> Line:
        """Look. Raises LinkError."""
        await self._use(self._set)
        heard = await self._raw.exchange(b"", LISTEN, LISTEN, 2000)
        idle = heard.stray + heard.data
        line = Line(
            link=self._link,
            kind="mbus",
            where=self._raw.where,
            line=text_of(self._set),
            timeout=_ADAPTER + _BITS / self._set.baud,
            idle_bytes=len(idle),
            idle_zeros=sum(byte == 0 for byte in idle),
            idle_seconds=LISTEN,
            idle_sample=idle[:24].hex(),
            tested=True,
        )
        for seen in self._seen:
            self._tell(f"asking {seen.meter.device}")
            for _ in range(_TRIES):
                if self._left() > 1.0:
                    seen.trials.append(await self._ask(seen.meter))
                if seen.trials and seen.trials[-1].outcome == "good":
                    break
        silent = [s for s in self._seen if all(t.outcome == "silent" for t in s.trials)]
        if silent:
            await self._sweep(silent[0])
        units = [
            Unit(
                device=s.meter.device,
                model=s.meter.model,
                unit=s.meter.unit,
                at=s.meter.secondary,
                trials=s.trials,
                swept=s.swept,
            )
            for s in self._seen
        ]
        return msgspec.structs.replace(line, units=units)

    async def _sweep(self, seen: _Seen) -> None:
        for line in _settings(self._set):
            if self._left() < 2.0:
                break
            try:
                await self._use(line)
            except LinkError as error:
                if error.code != "link.settings":
                    raise
                continue
            self._tell(f"{self._link}: trying {text_of(line)}")
            seen.swept.append(await self._ask(seen.meter))
            if seen.swept[-1].outcome == "good":
                break
        await self._use(self._set)

    async def _use(self, line: LineSettings) -> None:
        await self._raw.use(line)
        self._line = line

    async def _ask(self, meter: Meter) -> Trial:
        wait = _ADAPTER + _BITS / self._line.baud
        address = _SELECTED if meter.secondary else meter.unit or 0
        if meter.secondary:
            heard = await self._raw.exchange(frame.select(int(meter.secondary)), wait)
        else:
            heard = await self._raw.exchange(frame.reset(address), wait)
        if not heard.data:
            return self._trial("silent", heard)
        heard = await self._raw.exchange(
            frame.ask(address, True), wait, 33 / self._line.baud + 0.05
        )
        return self._judged(heard)

    def _judged(self, heard: Heard) -> Trial:
        data = heard.data
        frames = list(_long_frames(data))
        if frames:
            return self._trial("good", heard, [f.hex() for f in frames[1:]])
        return self._trial("damaged" if data.strip(_ACK) else "silent", heard)

    def _trial(self, outcome: str, heard: Heard, extra: list[str] | None = None) -> Trial:
        return Trial(
            line=text_of(self._line),
            outcome=outcome,
            ms=round(heard.first * 1000, 1),
            got=len(heard.data),
            heard=heard.data[:64].hex(),
            extra=extra or [],
        )

    def _left(self) -> float:
        return self._until - self._clock.monotonic()


def _long_frames(data: bytes) -> Iterator[bytes]:
    """Sound long frames, wherever they begin."""
    at = 0
    while (at := data.find(0x68, at)) >= 0 and at + 4 <= len(data):
        candidate = data[at : at + data[at + 1] + 6]
        try:
            frame.answer(candidate)
        except FrameError:
            at += 1
            continue
        yield candidate
        at += len(candidate)


def _settings(now: LineSettings) -> Iterator[LineSettings]:
    parities: tuple[Literal["E", "N"], ...] = ("E", "N")
    same_speed = [LineSettings(now.baud, parity, 1) for parity in parities]
    usual = [LineSettings(b, p, 1) for p in parities for b in (2400, 9600, 300, 4800, 1200)]
    tried = {now}
    for line in (*same_speed, *usual):
        if line not in tried:
            tried.add(line)
            yield line
