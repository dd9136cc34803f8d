"""Drives it all: looks for a configuration, tries it, keeps it or goes back. One task of the daemon.

A trial survives restarts and power cuts. Nothing here stops a running gateway: what fails is a fault in `status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lamppost.clock import Clock
from lamppost.errors import LamppostError
from lamppost.ota import health
from lamppost.ota.generations import Generations
from lamppost.ota.health import Vitals
from lamppost.ota.report import report
from lamppost.ota.rollout import turn
from lamppost.ota.sources import Source
from lamppost.ota.state import Generation, Trial
from lamppost.ota.transitions import admit
from lamppost.ota.windows import opens
from lamppost.timeline import Timeline

if TYPE_CHECKING:
    from lamppost.ota.trust import Findings, Offer, Repository

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at a trial
SETTLE = 30.0  # seconds that all must be well before a trial is over; a quarter of a short trial
REACH_EVERY = 5.0  # seconds between tries to reach the repository in a trial


class Offload(Protocol):
    """Runs a blocking function beside the loop, as `asyncio.to_thread` does."""

    def __call__(self, function: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]: ...  # noqa: D102


class Settings(Protocol):
    """The site's [ota] table; times in seconds."""

    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def every(self) -> float: ...  # noqa: D102
    @property
    def trial(self) -> float: ...  # noqa: D102
    @property
    def window(self) -> str: ...  # noqa: D102
    @property
    def hold_until(self) -> Any: ...  # noqa: D102


class Host(Protocol):
    """What the agent asks of the daemon around it."""

    def vitals(self) -> Vitals:
        """How the stages are doing."""
        ...

    def check(self, content: bytes) -> None:
        """Whether this could run here; opens nothing. Raises LamppostError."""
        ...

    def root(self) -> bytes | None:
        """The trusted root that enrolment brought; None before."""
        ...

    def sources(self, *, check_time: bool) -> Sequence[Source]:
        """Where to look, the nearest first: a stick, then the hub; none before enrolment."""
        ...

    async def flush(self) -> None:
        """Send what there is, so that the hub has something to answer."""
        ...

    def restart(self) -> None:
        """Start again with what `Generations` says now."""
        ...


class Agent:
    """The life of this gateway's configuration. `gateway` is the id it is addressed by."""

    def __init__(
        self,
        gateway: str,
        settings: Settings,
        generations: Generations,
        host: Host,
        clock: Clock,
        timeline: Timeline,
        folder: Path,
        chance: random.Random | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._generations = generations
        self._host = host
        self._clock = clock
        self._timeline = timeline
        self._folder = folder
        self._chance = chance or random.Random()
        self._offload = offload
        self._nudge = asyncio.Event()
        self._reached = False
        self._fault: LamppostError | None = None
        self._refused: tuple[str, int, LamppostError] | None = None
        self._waits = ""
        self._offered = 0
        self._turn: int | None = None
        self._expires = 0

    async def run(self) -> None:
        """Until cancelled, or until a restart was asked for."""
        trial = self._generations.state.trial
        if trial is not None and not await self._supervise(trial):
            return
        await self._warmed_up()
        while True:
            self._nudge.clear()
            if await self.look():
                return
            with contextlib.suppress(TimeoutError):
                await self._until_nudged(self._pause())

    def nudge(self) -> None:
        """The hub says that there is something new."""
        self._nudge.set()

    def status(self) -> dict[str, Any]:
        """Plain values for status, heartbeat and the gateway's Device entity."""
        return report(
            self._generations.state,
            fault=self._fault,
            refused=self._refused,
            offered=self._offered,
            waits=self._waits,
            turn=self._turn,
            expires=self._expires,
        )

    def test(self, content: bytes) -> Generation:
        """Try a configuration from this gateway itself. Raises LamppostError and changes nothing where it cannot be."""
        self._host.check(content)
        staged = self._stage(content, origin="local")
        self._host.restart()
        return staged

    def roll_back(self) -> None:
        """One step back, by a person on site. Raises LamppostError."""
        self._generations.roll_back(self._clock.utc())
        self._host.restart()

    async def _warmed_up(self) -> None:
        """Wait until all devices answer and the hub is there, half the time of a trial at most.

        What does not work yet when a trial begins would not be missed in it.
        """
        end = self._clock.monotonic() + self._settings.trial / 2
        while self._clock.monotonic() < end and not health.is_well(self._host.vitals()):
            await self._clock.sleep_until(self._clock.monotonic() + LOOK)

    # -- looking -----------------------------------------------------------------------------------

    async def look(self) -> bool:
        """Look for a configuration once; True if a restart was asked for. What is wrong is kept for `status`."""
        root = self._host.root()
        fault: LamppostError | None = None
        for source in self._host.sources(check_time=self._clock_may_judge()) if root else ():
            try:
                taken = await self._look_at(source, root or b"")
            except LamppostError as error:
                fault = fault or error
                continue
            if taken:
                return True
        if fault is not None and (self._fault is None or self._fault.code != fault.code):
            log.warning("%s: %s; %s", fault.code, fault, fault.hint)
        self._fault = fault
        return False

    async def _look_at(self, source: Source, root: bytes) -> bool:
        repository, found = await self._open(source, root)
        self._learned(found)
        if self._withdrawn(found.halted):
            return True
        offer = found.offer
        if offer is None or not self._wanted(offer):
            return False
        content = await self._offload(repository.fetch, offer)
        return self._take(content, offer, source)

    async def _open(self, source: Source, root: bytes) -> tuple[Repository, Findings]:
        from lamppost.ota.trust import Repository  # late: it costs time and memory

        target = f"{self._settings.group}/{self._gateway}/site.toml"

        def look() -> tuple[Repository, Findings]:
            repository = Repository(self._folder / "tuf", root, source, self._now())
            return repository, repository.look(target)

        try:
            found: tuple[Repository, Findings] = await self._offload(look)
        except LamppostError as error:
            if not source.local and error.code == "ota.unreachable":
                self._reached = False
            raise
        self._reached = self._reached or not source.local
        return found

    def _learned(self, found: Findings) -> None:
        self._expires = found.expires
        now = self._clock.utc()
        # A synchronised clock knows better than a date in metadata; another one is lifted by it.
        floor = min(found.floor, now) if self._timeline.state == "synced" else found.floor
        self._timeline.raise_floor(floor)

    def _withdrawn(self, halted: frozenset[str]) -> bool:
        """Goes back where the running roll-out was halted within its time."""
        state = self._generations.state
        runs = state.trial.generation if state.trial else state.good
        if runs is None or runs.rollout not in halted or self._now() // 10**9 >= runs.until:
            return False
        self._generations.withdraw(self._clock.utc())
        self._host.restart()
        return True

    def _wanted(self, offer: Offer) -> bool:
        """Whether to take the offer now. Raises ConfigRefused or ConfigUnfit where it never will be."""
        terms, now = offer.terms, self._now() // 10**9
        self._offered, self._turn, self._waits = terms.serial, None, ""
        if not admit(self._generations.state, terms.serial, offer.sha256, again=terms.again):
            return False
        if self._refused is not None and self._refused[0] == offer.sha256:
            return False
        self._turn = turn(terms, self._gateway)
        if offer.halted:
            self._waits = "halted"
        elif self._turn is None or now < self._turn:
            self._waits = "not its turn"
        elif not terms.urgent and (hold := self._settings.hold_until) and now < hold.timestamp():
            self._waits = "held"
        elif not terms.urgent and not opens(self._settings.window, now):
            self._waits = "outside its maintenance window"
        return not self._waits

    def _take(self, content: bytes, offer: Offer, source: Source) -> bool:
        try:
            self._host.check(content)
        except LamppostError as error:
            log.error("serial %d is refused: %s: %s", offer.terms.serial, error.code, error)
            self._refused = offer.sha256, offer.terms.serial, error
            return False
        self._stage(
            content,
            serial=offer.terms.serial,
            origin="stick" if source.local else "hub",
            rollout=offer.terms.rollout,
            until=offer.terms.until,
        )
        self._host.restart()
        return True

    def _stage(self, content: bytes, **of: Any) -> Generation:
        baseline = health.baseline_of(self._host.vitals(), source=self._reached)
        staged = self._generations.stage(content, baseline, **of)
        digest = hashlib.sha256(content).hexdigest()[:12]
        log.info("generation %d (serial %d, %s) is tried", staged.number, staged.serial, digest)
        return staged

    # -- trial -------------------------------------------------------------------------------------

    async def _supervise(self, trial: Trial) -> bool:
        """Watch a trial to its end; True if it is confirmed."""
        reach = asyncio.create_task(self._reach(trial), name="ota reach")
        try:
            why = await self._judged(trial)
        finally:
            reach.cancel()
            await asyncio.gather(reach, return_exceptions=True)
        if self._generations.state.trial is None:  # withdrawn or rolled back meanwhile
            return False
        number = trial.generation.number
        if why is None:
            try:
                self._generations.confirm(self._clock.utc())
            except LamppostError as failed:
                why = failed
        if why is None:
            log.info("generation %d is confirmed", number)
            return True
        log.error("generation %d is taken back: %s: %s", number, why.code, why)
        self._generations.revert(why, self._clock.utc())
        self._host.restart()
        return False

    async def _judged(self, trial: Trial) -> LamppostError | None:
        """None as soon as all that worked works again and stayed so; what is missing at the end of the trial."""
        settle = min(SETTLE, self._settings.trial / 4)
        well_since: float | None = None
        while self._generations.state.trial is not None:
            now = self._clock.monotonic()
            vitals = self._host.vitals()
            why = health.missing(trial.baseline, vitals, source=self._reached)
            well_since = None if why else (now if well_since is None else well_since)
            if well_since is not None and now >= well_since + settle:
                return None
            if self._elapsed(trial) >= self._settings.trial:
                return why
            if why is not None and why.code == "ota.no-receipt" and vitals.connected:
                await self._host.flush()
            await self._clock.sleep_until(now + LOOK)
        return None

    def _elapsed(self, trial: Trial) -> float:
        return (self._clock.now().ns - trial.began) / 1e9

    async def _reach(self, trial: Trial) -> None:
        """See whether the repository can be reached with what is tried, and whether it is halted meanwhile."""
        while True:
            if not self._reached or self._nudge.is_set():
                self._nudge.clear()
                await self.look_back()
            await self._clock.sleep_until(self._clock.monotonic() + REACH_EVERY)

    async def look_back(self) -> None:
        """In a trial: only whether the source answers, and whether the roll-out was halted."""
        root = self._host.root()
        for source in self._host.sources(check_time=self._clock_may_judge()) if root else ():
            try:
                _, found = await self._open(source, root or b"")
            except LamppostError as error:
                self._fault = error
                continue
            self._fault = None
            self._withdrawn(found.halted)

    # -- time --------------------------------------------------------------------------------------

    def _now(self) -> int:
        """UTC ns for what is judged by dates: the clock, but never before the time floor."""
        return max(self._clock.utc(), self._timeline.floor)

    def _clock_may_judge(self) -> bool:
        """Whether dates of certificates can be compared with this clock at all."""
        return self._clock.utc() >= self._timeline.floor

    def _pause(self) -> float:
        """Until the next look: the site's interval with jitter, or the turn of a roll-out if that is sooner."""
        pause = self._settings.every * self._chance.uniform(0.9, 1.1)
        if self._waits == "not its turn" and self._turn is not None:
            left = self._turn - self._now() / 1e9
            pause = min(pause, max(left, 1.0))
        return pause

    async def _until_nudged(self, seconds: float) -> None:
        nudged = asyncio.create_task(self._nudge.wait())
        later = asyncio.create_task(self._clock.sleep_until(self._clock.monotonic() + seconds))
        try:
            await asyncio.wait({nudged, later}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
            later.cancel()
            await asyncio.gather(nudged, later, return_exceptions=True)
