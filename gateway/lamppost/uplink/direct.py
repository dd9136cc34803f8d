"""Direct mode: the gateway writes to a context broker itself, without a Lamppost receiver. No receipt proves anything.

Batches wait in the ring as in any mode. They are written in order, several of a backlog together, and settled when the
broker has answered for all of them; the journal (`direct_memory`) makes a restart ask before it writes again. What
the broker refuses for good is kept (`refused`) and does not stop the rest.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import orjson

from lamppost.clock import Clock
from lamppost.envelope.compression import decompress
from lamppost.envelope.refusal import EnvelopeError
from lamppost.errors import HubError, LamppostError, SiteError, StoreError
from lamppost.model import Batch, Instant
from lamppost.ngsild.broker import Api, Broker, Entity, History, Outcome, Refusal, Turns
from lamppost.uplink.broker_client import BrokerSettings, Connection, connection
from lamppost.uplink.direct_memory import Journal, Shared
from lamppost.uplink.pause import Backoff, signal_or_deadline
from lamppost.uplink.refused import Box, Letter
from lamppost.uplink.session import FIRST_DELAY, LONGEST_DELAY
from lamppost.uplink.state import UplinkState

log = logging.getLogger(__name__)

PROOF = "the broker's answer settles; there are no signed receipts in this mode"
TOGETHER = 1024 * 1024  # bytes of JSON of a backlog that are written as one
LOOK = 30.0  # seconds between looks for letters to offer again
_DEVICE = "https://smartdatamodels.org/dataModel.Device/Device"
_PERSON = (
    "credential.",
    "broker.unauthorised",
    "broker.token",
    "broker.no-temporal-api",
    "direct.",
)


class Outbox(Protocol):
    """What is asked of the ring; neither may block for long (ring.offloop)."""

    def held(self) -> Sequence[Batch]:
        """Batches that are not settled, in order of seq."""
        ...

    def settle(self, epoch: str, seq: int) -> bool:
        """The broker has answered for this batch."""
        ...


class DirectSettings(BrokerSettings, Protocol):
    """The site's [uplink] table."""

    @property
    def history(self) -> History: ...  # noqa: D102


@dataclass(slots=True)
class Counts:
    """Since the start of the process."""

    batches: int = 0
    live: int = 0
    history: int = 0
    replayed: int = 0
    left_out: int = 0
    refused: int = 0
    last_answer: Instant | None = None


@dataclass(frozen=True, slots=True)
class DirectStatus:
    """A snapshot. Entities: `entities_live` written to the current state, `entities_refused` kept as letters;
    instances: `instances_history` and `instances_replayed` written, `instances_left_out` by the site's choice.
    """

    state: UplinkState
    since: Instant
    code: str | None
    message: str
    hint: str
    next_try: Instant | None
    last_answer: Instant | None
    held: int
    batches_sent: int
    entities_live: int
    instances_history: int
    instances_replayed: int
    instances_left_out: int
    requests: int
    bytes_sent: int
    letters: int
    entities_refused: int
    entities_dropped: int
    last_refusal: str
    journal_damaged: int
    mode: str = "direct"
    proof: str = PROOF
    receipts_verified: int = 0


class Direct:
    """Stands where `Uplink` does. `connect` is for tests; without it the broker of `settings` is spoken to.

    `beside` is another writer to the same broker: the two then never write one entity at a time, and each one knows
    what the other has made the newest. The second one connects when it has something to write.
    """

    def __init__(
        self,
        settings: DirectSettings,
        gateway: str,
        outbox: Outbox,
        clock: Clock,
        state: Path,
        *,
        connect: Callable[[], Connection] | None = None,
        chance: random.Random | None = None,
        beside: Direct | None = None,
    ) -> None:
        self._beside, self._second = beside, beside is not None
        self._turns = beside.joined_by(self) if beside else Turns()
        self._settings = settings
        self._self = {"id": f"urn:ngsi-ld:Device:{gateway}", "type": _DEVICE}
        self._outbox = outbox
        self._clock = clock
        self._journal_path = state / "direct.journal"
        self._journal: Journal | None = None
        self._box = Box(state / "refused")
        self._letters = self._box.letters()
        self._dropped = self._box.dropped()
        self._connect = connect or (lambda: connection(settings, state, clock))
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, chance or random.Random())
        self._wake, self._settled, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._together = TOGETHER
        self._requests = self._bytes = 0
        self._api: Api | None = None
        self._state, self._since = UplinkState.STOPPED, clock.now()
        self._why: LamppostError | None = None
        self._next_try: Instant | None = None
        self._counts = Counts()

    # -- what the daemon asks --------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Write what is held, for ever; ends only by cancellation (or a bug)."""
        try:
            while self._second and not self._outbox.held():
                self._wake.clear()
                await self._wake.wait()
            while True:
                try:
                    await self._connected()
                except (HubError, SiteError, StoreError) as error:
                    await self._wait(error)
        finally:
            self._enter(UplinkState.STOPPED)
            if self._journal is not None:
                self._journal.close()

    def joined_by(self, other: Direct) -> Turns:
        """There is another writer to the broker from now on."""
        self._beside = other
        return self._turns

    def journal(self) -> Journal:
        """What was written. Raises StoreError `direct.disk`."""
        if self._journal is None:
            self._journal = Journal.open(self._journal_path)
        return self._journal

    def notify(self) -> None:
        """A new batch is held."""
        self._wake.set()

    async def drained(self, deadline: float) -> bool:
        """Wait until nothing is held, at most until `deadline` (monotonic seconds); True if nothing is."""
        while self._outbox.held():
            if self._clock.monotonic() >= deadline:
                return False
            self._settled.clear()
            await signal_or_deadline(self._clock, self._settled, deadline)
        return True

    def status(self) -> DirectStatus:
        """A snapshot; cheap."""
        why, counts = self._why, self._counts
        newest = self._letters[-1] if self._letters else None
        return DirectStatus(
            state=self._state,
            since=self._since,
            code=why.code if why else None,
            message=str(why or ""),
            hint=why.hint if why else "",
            next_try=self._next_try,
            last_answer=counts.last_answer,
            held=len(self._outbox.held()),
            batches_sent=counts.batches,
            entities_live=counts.live,
            instances_history=counts.history,
            instances_replayed=counts.replayed,
            instances_left_out=counts.left_out,
            requests=self._requests + (self._api.requests if self._api else 0),
            bytes_sent=self._bytes + (self._api.sent_bytes if self._api else 0),
            letters=len(self._letters),
            entities_refused=sum(len(letter.refused) for letter in self._letters),
            entities_dropped=self._dropped,
            last_refusal=newest.first_problem if newest else "",
            journal_damaged=self._journal.damaged if self._journal else 0,
        )

    # -- one connection after another ------------------------------------------------------------------------------

    async def _connected(self) -> NoReturn:
        self._enter(UplinkState.CONNECTING, self._why)
        memory = Shared(self.journal(), self._beside.journal()) if self._beside else self.journal()
        way = self._connect()
        self._api = way.api
        try:
            broker = Broker(way.api, memory, history=self._settings.history, turns=self._turns)
            await broker.greet(self._self)
            await self._forget_jobs(self.journal())
            while True:
                self._wake.clear()
                await self._write_all(broker, self.journal())
                self._heard()
                await signal_or_deadline(self._clock, self._wake, self._clock.monotonic() + LOOK)
        finally:
            self._requests, self._bytes = (
                self._requests + way.api.requests,
                self._bytes + way.api.sent_bytes,
            )
            self._api = None
            await way.close()

    async def _forget_jobs(self, journal: Journal) -> None:
        """Jobs of an epoch that ended are nobody's any more."""
        held, letters = list(self._outbox.held()), {f"again/{x.job}" for x in self._box.letters()}
        for job in journal.opened():
            if job not in letters and not any(covers(job, batch) for batch in held):
                await journal.abandon(job)

    def _heard(self) -> None:
        self._backoff.reset()
        if self._state is not UplinkState.CONNECTED:
            log.info("uplink: the broker answers; %s", PROOF)
        self._enter(UplinkState.CONNECTED)

    async def _wait(self, why: LamppostError) -> None:
        person = why.code.startswith(_PERSON)
        if self._why is None or self._why.code != why.code:
            log.warning("uplink: %s (%s); %s", why, why.code, why.hint)
        self._enter(UplinkState.REFUSED if person else UplinkState.WAITING, why)
        delay = self._backoff.delay()
        now = self._clock.now()
        self._next_try = Instant(now.boot, now.ns + int(delay * 1e9))
        self._hurry.clear()
        await signal_or_deadline(self._clock, self._hurry, self._clock.monotonic() + delay)
        self._next_try = None

    def _enter(self, state: UplinkState, why: LamppostError | None = None) -> None:
        """`since` is the start of the whole trouble: connecting between two waits does not restart it."""
        troubled = UplinkState.CONNECTED not in (state, self._state)
        if state is not self._state and not (troubled and why and self._why):
            self._since = self._clock.now()
        self._state, self._why = state, why

    # -- batches ---------------------------------------------------------------------------------------------------

    async def _write_all(self, broker: Broker, journal: Journal) -> None:
        while held := list(self._outbox.held()):
            if _done(journal, held[0]):  # before a restart, or ahead of one that was refused
                self._settle(held[:1])
                continue
            group = self._group(held, journal)
            await self._write(broker, journal, group, held[len(group) : len(group) + 1])
            self._heard()
        for letter in self._box.letters():
            if letter.again:
                await self._offer_again(broker, journal, letter)

    def _group(self, held: Sequence[Batch], journal: Journal) -> list[Batch]:
        """The batches to write now: those of a job that was begun, else as many as fit together."""
        for job in journal.opened():
            begun = [b for b in held if covers(job, b)]
            if begun and begun[0] is held[0]:
                return begun
        group: list[Batch] = []
        size = 0
        for batch in held:
            size += len(payload_of(batch))
            apart = _done(journal, batch) or any(covers(job, batch) for job in journal.opened())
            if group and (apart or size > self._together):
                break
            group.append(batch)
        return group

    async def _write(
        self, broker: Broker, journal: Journal, group: list[Batch], following: list[Batch]
    ) -> None:
        outcome = await broker.write(_entities(group), job_of(group))
        if not refused_whole(outcome):
            await self._close(journal, group, outcome)
            self._together = TOGETHER
            return
        self._together = 0  # from now on one by one: which of them is it?
        if len(group) > 1:
            await journal.abandon(job_of(group))
            return
        # One batch that the broker cannot take must not stop the others; a broker that takes nothing must.
        if not following or _done(journal, following[0]):
            raise _refused(outcome)
        probe = await broker.write(_entities(following), job_of(following))
        if refused_whole(probe):
            raise _refused(outcome)
        await self._close(journal, group, outcome)
        await self._close(journal, following, probe)

    async def _close(self, journal: Journal, group: list[Batch], outcome: Outcome) -> None:
        """The broker has answered for all of it: keep what it refused, remember that it is done, settle."""
        if outcome.refused:
            self._keep(job_of(group), outcome)
            await journal.close_job(job_of(group))
        counts = self._counts
        counts.batches += len(group)
        counts.live += outcome.live
        counts.history += outcome.history
        counts.replayed += outcome.replayed
        counts.left_out += outcome.left_out
        counts.last_answer = self._clock.now()
        self._settle(group)

    def _keep(self, job: str, outcome: Outcome) -> None:
        self._box.keep(job, [as_letter(r) for r in outcome.refused])
        self._counts.refused += len(outcome.refused)
        self._look()
        first = outcome.refused[0]
        log.warning(
            "uplink: the broker refused %d entities of %s (%s: %d); see: lamppost refused list",
            len(outcome.refused),
            job,
            first.entity["id"],
            first.status,
        )

    def _settle(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._outbox.settle(batch.epoch, batch.seq)
        self._settled.set()

    # -- letters ---------------------------------------------------------------------------------------------------

    async def _offer_again(self, broker: Broker, journal: Journal, letter: Letter) -> None:
        job = f"again/{letter.job}"
        entities = [dict(r["entity"]) for r in letter.refused]
        outcome = await broker.write(entities, job)
        if outcome.refused:
            self._box.keep(letter.job, [as_letter(r) for r in outcome.refused])
            self._box.calm(letter.job)
            await journal.close_job(job)
        else:
            self._box.forget(letter.job)
        self._look()

    def _look(self) -> None:
        self._letters, self._dropped = self._box.letters(), self._box.dropped()


def job_of(group: Sequence[Batch]) -> str:
    """The name of one write: the epoch and the batches of it."""
    return f"{group[0].epoch}/{group[0].seq}-{group[-1].seq}"


def covers(job: str, batch: Batch) -> bool:
    """Whether a job is the write of this batch, alone or with others."""
    epoch, _, numbers = job.partition("/")
    first, _, last = numbers.partition("-")
    if epoch != batch.epoch or not (first.isdigit() and last.isdigit()):
        return False
    return int(first) <= batch.seq <= int(last)


def _done(journal: Journal, batch: Batch) -> bool:
    return any(covers(job, batch) for job in journal.finished())


def payload_of(batch: Batch) -> bytes:
    """The JSON of a batch that was held for this mode. Raises HubError `direct.sealed` for one sealed for a hub."""
    try:
        return decompress(batch.message)
    except EnvelopeError as error:
        raise HubError(
            f"batch {batch.seq} is sealed for a hub and cannot be opened here",
            code="direct.sealed",
            hint='set [uplink] mode = "hub" until it is proved, then change the mode again',
            retry=True,
        ) from error


def refused_whole(outcome: Outcome) -> bool:
    """Whether the broker took nothing of a write."""
    taken = outcome.live + outcome.history + outcome.replayed + outcome.left_out + outcome.repeated
    return bool(outcome.refused) and not taken


def as_letter(refusal: Refusal) -> dict[str, Any]:
    """A refusal as its file holds it."""
    return {"status": refusal.status, "problem": dict(refusal.problem), "entity": refusal.entity}


def _entities(group: Sequence[Batch]) -> list[Entity]:
    return [entity for batch in group for entity in orjson.loads(payload_of(batch))]


def _refused(outcome: Outcome) -> HubError:
    first = outcome.refused[0]
    return HubError(
        f"the broker refuses everything: {first.status} {as_letter(first)['problem']}"[:300],
        code="direct.refused",
        hint="check the URL and the tenant, and try one entity by hand; the batches stay in the ring",
        retry=True,
    )
