"""One connection after another: connect, serve until it is lost, wait longer after each failure.

States and their steps are in docs/explanation/delivery.md. Every wait is on the Clock and can be cut short.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

from lamppost.clock import Clock
from lamppost.errors import HubError, LamppostError, TrustError
from lamppost.model import Instant
from lamppost.uplink.faults import needs_a_person
from lamppost.uplink.pause import Backoff, signal_or_deadline
from lamppost.uplink.state import UplinkState
from lamppost.uplink.transport import Transport

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
STEADY = 30.0  # seconds a connection must last to count as a success


class Session:
    """The reconnect loop and its state."""

    def __init__(
        self, transport: Transport, clock: Clock, chance: random.Random | None = None
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, chance or random.Random())
        self._hurry = asyncio.Event()
        self.state = UplinkState.STOPPED
        self.since: Instant = clock.now()
        self.why: LamppostError | None = None
        self.next_try: Instant | None = None
        self.connections = 0

    async def run(self, serve: Callable[[Transport], Awaitable[NoReturn]]) -> NoReturn:
        """Connect and serve for ever; ends only by cancellation (or a bug)."""
        try:
            while True:
                try:
                    await self._once(serve)
                except (HubError, TrustError) as error:
                    await self._wait(error)
        finally:
            self._enter(UplinkState.STOPPED)
            await self._transport.close()

    def hurry(self) -> None:
        """Try again now: the identity was renewed, or the cable is back."""
        self._hurry.set()

    async def _once(self, serve: Callable[[Transport], Awaitable[NoReturn]]) -> None:
        self._enter(UplinkState.CONNECTING, self.why)
        await self._transport.connect()
        self.connections += 1
        opened = self._clock.monotonic()
        self._enter(UplinkState.CONNECTED)
        log.info("uplink connected")
        try:
            await serve(self._transport)
        finally:
            if self._clock.monotonic() - opened >= STEADY:
                self._backoff.reset()
            await self._transport.close()

    def proved(self) -> None:
        """A receipt came over this connection: it works, however long it lasts."""
        self._backoff.reset()

    async def _wait(self, why: LamppostError) -> None:
        state = UplinkState.REFUSED if needs_a_person(why.code) else UplinkState.WAITING
        if self.why is None or self.why.code != why.code:
            log.warning("uplink %s: %s (%s); %s", state, why, why.code, why.hint)
        self._enter(state, why)
        delay = self._backoff.delay()
        now = self._clock.now()
        self.next_try = Instant(now.boot, now.ns + int(delay * 1e9))
        self._hurry.clear()
        await signal_or_deadline(self._clock, self._hurry, self._clock.monotonic() + delay)
        self.next_try = None

    def _enter(self, state: UplinkState, why: LamppostError | None = None) -> None:
        """`since` is the start of the whole trouble: connecting between two waits does not restart it."""
        troubled = state is not UplinkState.CONNECTED and self.state is not UplinkState.CONNECTED
        same_trouble = troubled and why is not None and self.why is not None
        if not same_trouble and state is not self.state:
            self.since = self._clock.now()
        self.state, self.why = state, why
