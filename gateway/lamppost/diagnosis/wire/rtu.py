"""Examines a Modbus RTU line within a time: listen, ask every unit, sweep settings for those that stay silent.

Then of every unit that answers: is it the model of the site file, in which word order, alone at its id, and does
damage grow with the length of its answers. What was seen is returned; what it means is for `checks.bus`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from lamppost.clock import Clock
from lamppost.diagnosis.facts import Identity, Line, Order, Trial, Unit
from lamppost.diagnosis.wire import frames, orders
from lamppost.diagnosis.wire.ask import Ask
from lamppost.diagnosis.wire.known import Mark
from lamppost.diagnosis.wire.line import Heard, RawLine, takes, text_of
from lamppost.diagnosis.wire.plan import LinePlan, UnitPlan, sweep
from lamppost.links.counters import Counters
from lamppost.links.serial import LineSettings

LISTEN = 0.4
BABBLE = 0.3
"""Share of the time, unasked, from which on a line is not silent and asking makes no sense."""
_PATIENCE = 1.2
"""Seconds for a unit that answers too late."""
_SWEEP_WAIT = 0.12
_TRIES, _PATIENT_TRIES, _PATIENT_UNITS = 3, 8, 1
_COUNTED = 8
"""Requests to a unit that answers, to see whether somebody else does too, and how much is damaged."""
_TRAILING = 0.12
"""Seconds after an answer in which a second unit of the same id would begin its own."""
_REPRESENTATIVES, _FEW = 2, 3
_CONFIRM = 3
_BUSY = 0.02
"""Share of the time from which on others talk so much that a good answer at other settings may be chance."""
_REST = 0.06
"""Seconds in which the rest of an answer comes, where the machine was too busy to take it in one piece."""
_SOUND = ("good", "refused", "late")

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Seen:
    """What is known of a unit so far."""

    plan: UnitPlan
    trials: list[Trial] = field(default_factory=list)
    swept: list[Trial] = field(default_factory=list)
    long: list[Trial] = field(default_factory=list)
    identity: list[Identity] = field(default_factory=list)
    order: Order | None = None
    serials: list[int] = field(default_factory=list)
    wait: float = 0.0
    """Seconds to wait for this unit: the link's time-out, or longer for one that is always late."""

    @property
    def answered(self) -> bool:
        return any(trial.outcome in ("good", "refused", "late") for trial in self.trials)

    @property
    def good(self) -> bool:
        return any(trial.outcome in ("good", "late") for trial in self.trials)

    def as_fact(self) -> Unit:
        return Unit(
            device=self.plan.device,
            model=self.plan.model,
            unit=self.plan.unit,
            trials=self.trials,
            swept=self.swept,
            identity=self.identity,
            order=self.order,
            serials=self.serials,
            long=self.long,
        )


class Examination:
    """One line, looked at once. `until`: monotonic seconds at which it must be over."""

    def __init__(
        self, raw: RawLine, plan: LinePlan, clock: Clock, until: float, tell: Tell
    ) -> None:
        self._raw = raw
        self._plan = plan
        self._clock = clock
        self._until = until
        self._tell = tell
        self._seen = [_Seen(unit, wait=plan.timeout) for unit in plan.units]
        self._line = plan.line
        self._counted: Counters | None = None
        self._others_talk = False

    async def run(self, wanted: Sequence[str] = ()) -> Line:
        """Look; of the devices named in `wanted` more closely (all, without a name). Raises LinkError."""
        plan = self._plan
        await self._use(plan.line)
        self._tell(f"{plan.link}: listening at {text_of(plan.line)}")
        began = self._clock.monotonic()
        heard = await self._raw.exchange(b"", LISTEN, LISTEN, 2000)
        passed = max(LISTEN, self._clock.monotonic() - began)
        idle = heard.stray + heard.data
        share = min(1.0, len(idle) * plan.line.character / 1e9 / passed)
        found = frames.split(idle)
        line = Line(
            link=plan.link,
            kind=plan.kind,
            where=plan.where,
            line=text_of(plan.line),
            timeout=plan.timeout,
            idle_bytes=len(idle),
            idle_zeros=sum(byte == 0 for byte in found.rubbish),
            idle_seconds=round(passed, 1),
            idle_share=round(share, 2),
            idle_sample=idle[:24].hex(),
            foreign=[frame.hex() for frame in found.frames],
            tested=True,
        )
        before = self._raw.counters()
        self._others_talk = bool(found.frames) or share > _BUSY
        if share < BABBLE:
            await self._ask_all(wanted, before)
            line = await self._after(line)
        return msgspec.structs.replace(line, units=[seen.as_fact() for seen in self._seen])

    async def _after(self, line: Line) -> Line:
        """Breaks that came between the requests count as breaks at rest."""
        zeros = sum(trial.zeros for seen in self._seen for trial in seen.trials)
        counted = self._counted or Counters(0, 0, 0, 0)
        return msgspec.structs.replace(
            line,
            idle_zeros=max(line.idle_zeros + zeros, counted.breaks),
            framing_errors=counted.frame,
            parity_errors=counted.parity,
            breaks=counted.breaks,
        )

    # --- the steps

    async def _ask_all(self, wanted: Sequence[str], before: Counters | None) -> None:
        """Ask each; where the first few are all silent, other settings are tried before the rest is asked."""
        order = sorted(self._seen, key=lambda seen: seen.plan.device not in wanted)
        await self._ask_these(order[:_FEW])
        after = (
            self._raw.counters()
        )  # before other settings are tried: those make errors of their own
        self._counted = after.since(before) if after and before else None
        is_deaf = not any(seen.answered for seen in self._seen)
        if is_deaf:
            await self._sweep_for(order[:_FEW], wanted)
        if not any(trial.outcome in _SOUND for seen in self._seen for trial in seen.swept):
            await self._ask_these(order[_FEW:])
        if not is_deaf or any(seen.answered for seen in order[_FEW:]):
            await self._sweep_for(order, wanted)
        for seen in self._seen:
            if seen.answered and (not wanted or seen.plan.device in wanted):
                await self._look_closely(seen)

    async def _ask_these(self, some: Sequence[_Seen]) -> None:
        for seen in some:
            if self._left() > 1.0:
                self._tell(f"asking {seen.plan.device} (unit {seen.plan.unit})")
                await self._ask_first(seen)

    async def _sweep_for(self, some: Sequence[_Seen], wanted: Sequence[str]) -> None:
        """Try other settings for those that were asked, did not answer, and are wanted."""
        silent = [s for s in some if s.trials and not s.answered and not s.swept]
        close = [s for s in silent if not wanted or s.plan.device in wanted]
        if close and not self._others_talk:
            await self._sweep(close[:_REPRESENTATIVES])
            await self._use(self._plan.line)

    async def _ask_first(self, seen: _Seen) -> None:
        """Silence is sure after a few tries; damage may be chance, and wants more of them.

        The first try waits long: an answer that is merely late must not be taken for that of the next.
        """
        for turn in range(_PATIENT_TRIES):
            patient = turn == 0 and self._is_patient()
            wait = max(_PATIENCE, self._plan.timeout) if patient else self._plan.timeout
            trial = await self._ask(seen.plan.unit, seen.plan.short, wait)
            seen.trials.append(trial)
            if trial.outcome == "late":
                await self._ask_late(seen)
            if trial.outcome in _SOUND or self._left() < 1.0:
                return
            if turn + 1 >= _TRIES and all(each.outcome == "silent" for each in seen.trials):
                return

    def _is_patient(self) -> bool:
        """Of many silent units the first few get a long time; with all of them there would be none left."""
        silent = sum(bool(seen.trials) and not seen.answered for seen in self._seen)
        return silent < _PATIENT_UNITS

    async def _ask_late(self, seen: _Seen) -> None:
        """Once late may be chance, on a busy machine; always late is how the unit is."""
        for _ in range(2):
            seen.trials.append(await self._ask(seen.plan.unit, seen.plan.short, _PATIENCE))
        if sum(trial.outcome == "late" for trial in seen.trials) >= 2:
            seen.wait = _PATIENCE

    async def _sweep(self, silent: list[_Seen]) -> None:
        """Try other settings with one or two units that stand for all silent ones."""
        for line in sweep(self._plan):
            if self._left() < 1.0 + _SWEEP_WAIT:
                return
            if not await self._try(line):
                continue
            self._tell(f"{self._plan.link}: trying {text_of(line)}")
            for seen in silent:
                trial = await self._ask(seen.plan.unit, seen.plan.short, _SWEEP_WAIT)
                if trial.outcome in _SOUND and not await self._confirmed(seen):
                    trial = msgspec.structs.replace(trial, outcome="unconfirmed")
                seen.swept.append(trial)
                if trial.outcome in _SOUND:
                    return

    async def _confirmed(self, seen: _Seen) -> bool:
        """Other settings are proved by answers there again and again, and by none at the settings of the site."""
        there = self._line
        again = [
            await self._ask(seen.plan.unit, seen.plan.short, self._plan.timeout)
            for _ in range(_CONFIRM)
        ]
        await self._use(self._plan.line)
        here = [
            await self._ask(seen.plan.unit, seen.plan.short, _SWEEP_WAIT) for _ in range(_CONFIRM)
        ]
        seen.trials += here
        return (
            await self._try(there)
            and all(t.outcome in _SOUND for t in again)
            and all(t.outcome not in _SOUND for t in here)
        )

    async def _look_closely(self, seen: _Seen) -> None:
        plan = seen.plan
        self._tell(f"looking at {plan.device}")
        if not seen.good and all(trial.outcome == "refused" for trial in seen.trials):
            seen.identity = [i for i in [await self._mark(seen, m) for m in plan.marks] if i]
            return
        for mark in plan.marks:
            if self._left() > 0.5 and (identity := await self._mark(seen, mark)) is not None:
                seen.identity.append(identity)
        await self._order(seen)
        for turn in range(_COUNTED):
            if self._left() < 0.5:
                return
            seen.trials.append(await self._ask(plan.unit, plan.short, seen.wait, _TRAILING))
            if plan.serial is not None and turn % 2 == 0:
                await self._serial(seen, plan.serial)
        await self._length(seen)

    async def _mark(self, seen: _Seen, mark: Mark) -> Identity | None:
        trial = await self._ask(seen.plan.unit, mark.ask, seen.wait)
        if trial.outcome not in ("good", "late"):
            return None
        got = 0
        for word in trial.values:
            got = got << 16 | word
        expected = mark.expected(got)
        if expected is None:
            return None
        return Identity(
            address=mark.ask.address,
            expected=f"{expected:#x}",
            got=f"{got:#x}",
            known=mark.others.get(got, ""),
        )

    async def _order(self, seen: _Seen) -> None:
        register = seen.plan.telling
        if register is None or self._left() < 1.0:
            return
        function = 3 if register.table == "holding" else 4
        ask = Ask(function, register.address, 2)
        found: dict[str, list[float]] = {name: [] for name in orders.ORDERS}
        for _ in range(2):
            trial = await self._ask(seen.plan.unit, ask, seen.wait)
            if trial.outcome not in ("good", "late") or len(trial.values) != 2:
                return
            for name, value in orders.readings(register, trial.values).items():
                found[name].append(value)
        low, high = orders.KNOWN[register.point.unit]
        seen.order = Order(
            point=register.point.name,
            unit=register.point.unit,
            mapped=register.word_order,
            low=low,
            high=high,
            readings=found,
        )

    async def _serial(self, seen: _Seen, ask: Ask) -> None:
        trial = await self._ask(seen.plan.unit, ask, seen.wait)
        if trial.outcome in ("good", "late") and len(trial.values) == 2:
            seen.serials.append(trial.values[0] << 16 | trial.values[1])

    async def _length(self, seen: _Seen) -> None:
        """Where something was damaged: does it grow with the length of the answer?"""
        damaged = any(trial.outcome not in _SOUND for trial in seen.trials)
        if not damaged or seen.plan.long is None:
            return
        for _ in range(_COUNTED):
            if self._left() < 0.6:
                return
            seen.long.append(await self._ask(seen.plan.unit, seen.plan.long, seen.wait))

    # --- one request

    async def _use(self, line: LineSettings) -> None:
        await self._raw.use(line)
        self._line = line

    async def _try(self, line: LineSettings) -> bool:
        if taken := await takes(self._raw, line):
            self._line = line
        return taken

    async def _ask(self, unit: int, ask: Ask, wait: float, quiet: float = 0.03) -> Trial:
        request = frames.read_frame(unit, ask.function, ask.address, ask.count)
        heard = await whole(self._raw, request, wait, quiet)
        return frames.judged(request, heard, text_of(self._line), self._plan.timeout)

    def _left(self) -> float:
        return self._until - self._clock.monotonic()


async def whole(raw: RawLine, request: bytes, wait: float, quiet: float = 0.03) -> Heard:
    """An exchange to its end: what a busy machine cut in two is put together, and after an echo the answer awaited."""
    heard = await raw.exchange(request, wait, quiet)
    if heard.data == request:
        more = await raw.exchange(b"", wait, quiet)
    elif heard.data and not frames.split(heard.data).frames:
        more = await raw.exchange(b"", _REST, quiet)
    else:
        return heard
    return Heard((*heard.pieces, *more.pieces), heard.stray + more.stray)
