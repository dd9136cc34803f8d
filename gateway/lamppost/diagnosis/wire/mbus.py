"""Examines a wired M-Bus: every meter is asked for its values, at other speeds too where all stay silent.

EN 13757-2: a reset (SND_NKE) and a request (REQ_UD2) change nothing in a meter; a selection only addresses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from lamppost.clock import Clock
from lamppost.diagnosis.facts import Line, Trial, Unit
from lamppost.diagnosis.wire.line import Heard, RawLine, takes, text_of
from lamppost.diagnosis.wire.rtu import LISTEN, Tell
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import FrameError
from lamppost_drivers.mbus import frame, records
from lamppost_drivers.mbus.meter import model_of_medium

_ADAPTER, _BITS = 0.25, 330
NETWORK_GAP = 0.3
"""Seconds of silence that end an answer over a network, which hands it over in pieces."""
_ACK_GAP = 0.03
_TRIES = 3
_BABBLE = 0.3
"""Share of the time that we only listen from which on nobody is asked: the line is never free."""
_ROUNDS = 4
_ACK = b"\xe5"
ANY_METER = "mbus-meter"
_SELECTED = 0xFD


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter as the site has it: primary address, or the number on its plate."""

    device: str
    model: str
    unit: int | None
    secondary: str = ""


@dataclass(frozen=True, slots=True)
class MbusPlan:
    """A bus as the site has it. `timeout`: seconds for an answer to begin behind a network; None: at the line's speed.

    A converter with a network port keeps its line settings to itself: only a serial one is tried at other speeds.
    """

    link: str
    kind: str
    line: LineSettings
    meters: tuple[Meter, ...]
    timeout: float | None = None

    @property
    def text(self) -> str:
        """The line settings; empty where they are not ours to set."""
        return text_of(self.line) if self.timeout is None else ""


@dataclass(slots=True)
class _Seen:
    meter: Meter
    trials: list[Trial] = field(default_factory=list)
    swept: list[Trial] = field(default_factory=list)


class MbusExamination:
    """One M-Bus, looked at once."""

    def __init__(
        self, raw: RawLine, plan: MbusPlan, clock: Clock, until: float, tell: Tell
    ) -> None:
        self._raw = raw
        self._plan = plan
        self._seen = [_Seen(meter) for meter in plan.meters]
        self._clock = clock
        self._until = until
        self._tell = tell

    async def run(self) -> Line:
        """Look. Raises LinkError."""
        plan = self._plan
        await self._raw.use(plan.line)
        heard = await self._raw.exchange(b"", LISTEN, LISTEN, 2000)
        idle = heard.stray + heard.data
        line = Line(
            link=plan.link,
            kind=plan.kind,
            where=self._raw.where,
            line=plan.text,
            timeout=patience(plan.line, plan.timeout),
            idle_bytes=len(idle),
            idle_zeros=sum(byte == 0 for byte in idle),
            idle_seconds=LISTEN,
            idle_share=round(min(1.0, len(idle) * plan.line.character / 1e9 / LISTEN), 2),
            idle_sample=idle[:24].hex(),
            tested=True,
        )
        if line.idle_share < _BABBLE:
            await self._everybody()
        return msgspec.structs.replace(line, units=self._units())

    async def _everybody(self) -> None:
        for seen in self._seen:
            self._tell(f"asking {seen.meter.device}")
            for _ in range(_TRIES):
                if self._left() > 1.0:
                    await self._try(seen)
                if seen.trials and seen.trials[-1].outcome == "good":
                    break
        silent = [s for s in self._seen if all(t.outcome == "silent" for t in s.trials)]
        if silent and self._plan.timeout is None:
            await self._sweep(silent[0])
        await self._again()

    def _units(self) -> list[Unit]:
        return [
            Unit(
                device=s.meter.device,
                model=s.meter.model,
                unit=s.meter.unit,
                at=s.meter.secondary,
                trials=s.trials,
                swept=s.swept,
                other_model=_other(s),
            )
            for s in self._seen
        ]

    async def _try(self, seen: _Seen) -> None:
        plan = self._plan
        seen.trials.append(await ask(self._raw, seen.meter, plan.line, plan.timeout))

    async def _again(self) -> None:
        """Who answered once is asked a few times more: a loose wire shows only then."""
        there = [s for s in self._seen if any(t.outcome == "good" for t in s.trials)]
        for _ in range(_ROUNDS):
            for seen in there:
                if self._left() > 1.5:
                    self._tell(f"asking {seen.meter.device} again")
                    await self._try(seen)

    async def _sweep(self, seen: _Seen) -> None:
        plan = self._plan
        for line in _settings(plan.line):
            if self._left() < 2.0:
                break
            if not await takes(self._raw, line):
                continue
            self._tell(f"{plan.link}: trying {text_of(line)}")
            seen.swept.append(await ask(self._raw, seen.meter, line))
            if seen.swept[-1].outcome == "good":
                break
        await self._raw.use(plan.line)

    def _left(self) -> float:
        return self._until - self._clock.monotonic()


def patience(line: LineSettings, timeout: float | None) -> float:
    """Seconds that a meter's answer may take to begin (EN 13757-2: 330 bits), with what a converter adds."""
    return _ADAPTER + _BITS / line.baud if timeout is None else timeout


async def ask(
    raw: RawLine, meter: Meter, line: LineSettings, timeout: float | None = None
) -> Trial:
    """Reset or select one meter, then ask for its values. Raises LinkError."""
    wait = patience(line, timeout)
    gap = 33 / line.baud + 0.05 if timeout is None else NETWORK_GAP
    address = _SELECTED if meter.secondary else meter.unit or 0
    first = frame.select(int(meter.secondary)) if meter.secondary else frame.reset(address)
    then = frame.ask(address, True)
    text = text_of(line) if timeout is None else ""
    heard, echo = await _exchange(raw, first, wait, gap, len(_ACK))
    if not heard.data:
        return _judged(heard, text, echo=echo)
    heard, again = await _exchange(raw, then, wait, gap, frame.LONGEST)
    return _judged(heard, text, echo=echo or again)


async def _exchange(
    raw: RawLine, request: bytes, wait: float, gap: float, count: int
) -> tuple[Heard, bool]:
    """What came after a request, without its echo, and whether there was one: some converters send it back."""
    heard = await raw.exchange(request, wait, gap if count > 1 else _ACK_GAP, len(request) + count)
    if not heard.data.startswith(request):
        return heard, False
    rest = heard.data.removeprefix(request)
    if rest:
        return Heard(((heard.first, rest),)), True
    more = await raw.exchange(b"", wait, gap)
    return Heard(((more.first, more.stray + more.data),)) if more.data or more.stray else more, True


def _judged(heard: Heard, line: str, *, echo: bool) -> Trial:
    data = heard.data
    sound = list(long_frames(data))
    outcome = "good" if sound else "damaged" if data.strip(_ACK) else "silent"
    return Trial(
        line=line,
        outcome=outcome,
        echo=echo,
        ms=round(heard.first * 1000, 1),
        got=len(data),
        heard=data[:64].hex(),
        extra=[f.hex() for f in sound[1:]],
        values=_medium(sound[0]) if sound else [],
    )


def _medium(telegram: bytes) -> list[int]:
    """The medium (EN 13757-3, table 8) that a meter names; empty where it names none."""
    answer = frame.answer(telegram)
    try:
        return [records.telegram(answer.ci, answer.data).header.medium]
    except FrameError:
        return []


def _other(seen: _Seen) -> str:
    """The model of what answers, where that is another than the site's: a heat meter at a water meter's address."""
    media = {trial.values[0] for trial in seen.trials if trial.values}
    if len(media) != 1 or seen.meter.model == ANY_METER:
        return ""
    model = model_of_medium(media.pop())
    return model if model not in (seen.meter.model, ANY_METER) else ""


def long_frames(data: bytes) -> Iterator[bytes]:
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


def frames(data: bytes) -> list[bytes]:
    """Sound frames of both sides in the order in which they came: E5h, short and long ones; no rubbish."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        piece = data[at : at + 5]
        if piece[:1] == _ACK:
            size = 1
        elif (
            len(piece) == 5
            and piece[0] == 0x10
            and piece[4] == 0x16
            and sum(piece[1:3]) & 0xFF == piece[3]
        ):
            size = 5
        elif (
            len(piece) == 5
            and piece[0] == piece[3] == 0x68
            and _is_long(data[at : at + piece[1] + 6])
        ):
            size = piece[1] + 6
        else:
            at += 1
            continue
        found.append(data[at : at + size])
        at += size
    return found


def _is_long(data: bytes) -> bool:
    whole = len(data) >= 9 and len(data) == data[1] + 6 and data[1] == data[2]
    return whole and data[-1] == 0x16 and sum(data[4:-2]) & 0xFF == data[-2]


def _settings(now: LineSettings) -> Iterator[LineSettings]:
    parities: tuple[Literal["E", "N"], ...] = ("E", "N")
    same_speed = [LineSettings(now.baud, parity, 1) for parity in parities]
    usual = [LineSettings(b, p, 1) for p in parities for b in (2400, 9600, 300, 4800, 1200)]
    tried = {now}
    for line in (*same_speed, *usual):
        if line not in tried:
            tried.add(line)
            yield line
