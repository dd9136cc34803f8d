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
from lamppost_hub.intake import Taken
from lamppost_hub.transport import Broker, Incoming, Session

log = logging.getLogger("lamppost_hub.receiver")

GROUP = 64  # messages that share one transaction at most


class Receiver:
    """Feeds what the broker brings to `take`, which runs in the database's thread, and sends its answers."""

    def __init__(
        self,
        broker: Broker,
        take: Callable[[Sequence[Incoming]], Awaitable[Taken]],
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
            try:
                await self._serve(session)
            except LamppostError as error:
                self._say(error)
            finally:
                await session.close()
            await self._clock.sleep(backoff.pause())

    async def _serve(self, session: Session) -> None:
        while True:
            group = await session.receive(GROUP)
            await self._gate.wait()  # in hand, but neither booked nor acknowledged
            taken = await self._taken(group)
            if taken.new:
                self._on_new()
            # Acknowledged even when an answer cannot be sent: the gateway sends again and gets it then.
            session.done(group)
            for answer in taken.answers:
                await session.send(answer.topic, answer.payload)

    async def _taken(self, group: Sequence[Incoming]) -> Taken:
        """The disk may refuse for a while: the group stays in hand and nothing is acknowledged meanwhile."""
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                return await self._take(group)
            except StoreError as error:
                log.error("%s: %s (%s)", error.code, error, error.hint)
                await self._clock.sleep(backoff.pause())

    def _say(self, error: LamppostError) -> None:
        text = f"{error.code}: {error} ({error.hint})"
        if text != self._last_fault:  # once for each kind of trouble, not once a second
            self._last_fault = text
            log.warning("%s", text)
