"""From the archive to a sink: in order a gateway, several gateways at a time, again until it worked.

Several receivers may drain one queue: a gateway is leased by one of them at a time.
A failure that waiting can heal pauses that gateway's lane with a growing back-off; any other failure makes the batch
a dead letter and the lane goes on. A batch may reach the sink twice (a kill between the sink's write and our
bookmark), which is why sinks are idempotent.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from lamppost.envelope.seal import SignerRecord, open_body
from lamppost.errors import HubError, LamppostError, StoreError
from lamppost_hub.backoff import Backoff
from lamppost_hub.clock import Clock
from lamppost_hub.delivery import Delivery, Payload
from lamppost_hub.queue import LEASE, Queue, Queued
from lamppost_hub.recent import Recent
from lamppost_hub.sinks import Sink
from lamppost_hub.thread import DatabaseThread

log = logging.getLogger("lamppost_hub.forward")

LANE = 32  # batches of one gateway between two bookmarks
ROUND = 8  # gateways claimed at a time: others shall have some, a killed receiver few


@dataclass(frozen=True, slots=True)
class Archive:
    """How archived bodies become deliveries: the hub's id, the registry's keys, and what was verified just now."""

    hub: str
    signer_of: Callable[[bytes], SignerRecord | None]
    recent: Recent = field(default_factory=Recent)

    def delivery(self, queued: Queued) -> Delivery:
        """Verify the archived body once more and decompress it; what it says is decoded by the sinks that ask.

        Raises EnvelopeError where the archive is damaged, HubError `sink.payload` where a gateway signed something
        that is no JSON array of objects.
        """
        payload = self.recent.get(sha256(queued.body).digest())
        if payload is None:
            payload = open_body(queued.body, aud=self.hub, signer_of=self.signer_of).payload
        return Delivery(
            gateway=queued.gateway,
            epoch=queued.epoch,
            seq=queued.seq,
            span_first=queued.first,
            span_last=queued.first + queued.count - 1,
            received_ns=queued.received,
            content=Payload(payload),
        )


class Offered(enum.Enum):
    """What a sink made of a batch: has it, never will, or not yet."""

    WRITTEN = enum.auto()
    PARKED = enum.auto()
    LATER = enum.auto()


class Forwarder:
    """Drains the queue into one sink. `wake` tells it that there may be something new.

    What is of an epoch that `skip` is true of, is another forwarder's.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        queue: Queue,
        archive: Archive,
        thread: DatabaseThread,
        clock: Clock,
        *,
        owner: str = "",
        lanes: int = 1,
        idle: float = 1.0,
        skip: Callable[[str], bool] = lambda epoch: False,
    ) -> None:
        self._skip = skip
        self.name = name
        self._sink = sink
        self._queue = queue
        self._archive = archive
        self._thread = thread
        self._clock = clock
        self._owner = owner
        self._lanes = asyncio.Semaphore(lanes)
        self._idle = idle
        self._news = asyncio.Event()
        self._paused: dict[str, tuple[float, Backoff]] = {}

    def wake(self) -> None:
        """Something was booked."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff, fault = Backoff(0.5, 10.0), ""
        while True:
            self._news.clear()
            try:
                moved = await self.round()
                backoff.reset()
                fault = ""
            except StoreError as error:
                if error.code != fault:  # once for each kind of trouble
                    fault = error.code
                    log.error("%s: %s: %s (%s)", self.name, error.code, error, error.hint)
                await self._clock.sleep(backoff.pause())
                continue
            if not moved:
                await self._rest()

    async def _rest(self) -> None:
        # Bounded, because another process may have queued a dead letter, and pauses end.
        try:
            async with asyncio.timeout(self._idle):
                await self._news.wait()
        except TimeoutError:
            pass

    async def round(self) -> bool:
        """Offer what waits, each gateway's next batches, to the sink; True if anything moved."""
        moved = await self._retry_dead_letters()
        resting = {gateway for gateway in self._paused if self._rests(gateway)}
        claimed = await self._thread.call(self._queue.claim, self.name, self._owner, ROUND, resting)
        lease = self._clock.monotonic()
        async with asyncio.TaskGroup() as lanes:
            tasks = [lanes.create_task(self._lane(gateway, lease)) for gateway in claimed]
        return any(task.result() for task in tasks) or moved

    async def _lane(self, gateway: str, lease: float) -> bool:
        async with self._lanes:
            try:
                return await self._drain(gateway, lease)
            except StoreError as error:
                self._pause(gateway, error)
                return False

    async def _drain(self, gateway: str, lease: float) -> bool:
        """The gateway's next batches; `lease` is when it was last known to be ours alone."""
        reached = 0
        try:
            for queued in await self._thread.call(self._queue.next_of, self.name, gateway, LANE):
                if self._clock.monotonic() - lease > LEASE / 4:
                    lease = self._clock.monotonic()
                    if not await self._thread.call(
                        self._queue.renew, self.name, gateway, self._owner
                    ):
                        break
                if not self._skip(queued.epoch) and await self._offer(queued) is Offered.LATER:
                    break
                reached = queued.position
        finally:
            await self._thread.call(self._queue.drained, self.name, gateway, self._owner, reached)
        return reached > 0

    async def _offer(self, queued: Queued) -> Offered:
        try:
            delivery = await self._thread.call(self._archive.delivery, queued)
            await self._write(delivery)
        except LamppostError as error:
            if error.retry:
                self._pause(queued.gateway, error)
                return Offered.LATER
            await self._park(queued, error.code, str(error))
            return Offered.PARKED
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A sink that stumbles over one batch must not stop the others; the batch is kept with the reason.
            log.exception("sink %s broke on %s; please report it", self.name, queued.epoch)
            await self._park(queued, "sink.internal", repr(error))
            return Offered.PARKED
        self._paused.pop(queued.gateway, None)
        return Offered.WRITTEN

    async def _write(self, delivery: Delivery) -> None:
        """A write ends before the lease does, or another receiver would write beside it."""
        try:
            async with asyncio.timeout(LEASE / 2):
                await self._sink.write(delivery)
        except TimeoutError as error:
            raise HubError(
                f"no answer within {LEASE // 2} s",
                code="sink.slow",
                hint="look at the load of the sink; the batch is offered again",
                retry=True,
            ) from error

    def _rests(self, gateway: str) -> bool:
        until, _ = self._paused.get(gateway, (0.0, None))
        return self._clock.monotonic() < until

    def _pause(self, gateway: str, error: LamppostError) -> None:
        _, backoff = self._paused.get(gateway, (0.0, Backoff(0.5, 60.0)))
        pause = backoff.pause()
        self._paused[gateway] = (self._clock.monotonic() + pause, backoff)
        log.warning(
            "%s: %s: %s; %s waits %.1f s (%s)",
            self.name,
            error.code,
            error,
            gateway,
            pause,
            error.hint,
        )

    async def _park(self, queued: Queued, code: str, reason: str) -> None:
        log.error(
            "%s: dead letter %s/%s/%d: %s: %s",
            self.name,
            queued.gateway,
            queued.epoch,
            queued.seq,
            code,
            reason,
        )
        await self._thread.call(
            self._queue.park, self.name, queued, code, reason, self._clock.utc()
        )

    async def _retry_dead_letters(self) -> bool:
        moved, reached = False, 0
        for _ in range(LANE):
            queued = await self._thread.call(self._queue.retried, self.name, self._owner, reached)
            if queued is None:
                break
            reached = queued.position
            if self._rests(queued.gateway):
                continue
            offered = await self._offer(queued)
            if offered is Offered.WRITTEN:
                await self._thread.call(self._queue.unpark, self.name, queued.position)
            moved = moved or offered is not Offered.LATER
        return moved
