"""The receiver: broker → intake → answers, for ever. Survives the broker, the disk and every message.

What is in hand is bounded: the broker hands out no more than the session's receive maximum before we acknowledge,
and nothing is acknowledged before it is durable. While `gate` is shut (a sink is too far behind, or the disk is
nearly full) nothing is taken at all, so the gateways keep their data: back-pressure from the sink to the receipt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from lamppost.errors import LamppostError, StoreError
from lamppost_hub.backoff import Backoff
from lamppost_hub.clock import Clock
from lamppost_hub.intake import Answer, Early, Taken
from lamppost_hub.transport import Broker, Incoming, Session

log = logging.getLogger("lamppost_hub.receiver")

GROUP = 64  # messages that share one transaction at most
AGAIN, SELDOM = 0.02, 0.2  # seconds until a batch without its predecessor is tried again, growing


class Receiver:
    """Feeds what the broker brings to `take`, which runs in the database's thread, and sends its answers."""

    def __init__(
        self,
        broker: Broker,
        take: Callable[[Sequence[Incoming], Sequence[Early]], Awaitable[Taken]],
        clock: Clock,
        *,
        gate: asyncio.Event,
        on_ready: Callable[[], None],
        on_new: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._take = take
        self._clock = clock
        self._gate = gate
        self._on_ready = on_ready
        self._on_new = on_new
        self._last_fault = ""
        self._session: Session | None = None

    async def send(self, answer: Answer) -> bool:
        """Say something unasked; False where there is no connection now."""
        if self._session is None:
            return False
        try:
            await self._session.send(answer.topic, answer.payload)
        except LamppostError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(0.25, 5.0)
        while True:
            try:
                session = await self._broker.connect()
            except LamppostError as error:
                self._say(error)
                await self._clock.sleep(backoff.pause())
                continue
            backoff.reset()
            self._last_fault = ""
            self._on_ready()
            self._session = session
            try:
                await self._serve(session)
            except LamppostError as error:
                self._say(error)
            finally:
                self._session = None
                await session.close()
            await self._clock.sleep(backoff.pause())

    async def _serve(self, session: Session) -> None:
        early: list[Early] = []  # in hand until another receiver has booked their predecessors
        again = AGAIN
        while True:
            group = await self._received(session, again if early else 0.0)
            await self._gate.wait()  # in hand, but neither booked nor acknowledged
            taken = await self._taken(group, early)
            again = AGAIN if taken.new else min(2 * again, SELDOM)
            if taken.new:
                self._on_new()
            waiting = {id(one.message) for one in taken.early}
            group += [one.message for one in early]
            early = taken.early
            # Acknowledged even when an answer cannot be sent: the gateway sends again and gets it then.
            session.done([message for message in group if id(message) not in waiting])
            for answer in taken.answers:
                await session.send(answer.topic, answer.payload)

    @staticmethod
    async def _received(session: Session, again: float) -> list[Incoming]:
        """What has arrived; nothing, after `again` seconds, where something in hand is to be tried then."""
        if not again:
            return await session.receive(GROUP)
        try:
            async with asyncio.timeout(again):
                return await session.receive(GROUP)
        except TimeoutError:
            return []

    async def _taken(self, group: Sequence[Incoming], early: Sequence[Early]) -> Taken:
        """The disk may refuse for a while: the group stays in hand and nothing is acknowledged meanwhile."""
        backoff = Backoff(0.25, 5.0)
        while True:
            try:
                return await self._take(group, early)
            except StoreError as error:
                log.error("%s: %s (%s)", error.code, error, error.hint)
                await self._clock.sleep(backoff.pause())

    def _say(self, error: LamppostError) -> None:
        text = f"{error.code}: {error} ({error.hint})"
        if text != self._last_fault:  # once for each kind of trouble, not once a second
            self._last_fault = text
            log.warning("%s", text)
