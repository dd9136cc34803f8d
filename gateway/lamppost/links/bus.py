"""A link that several take turns on: the poller between requests, a technician for a bounded while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from lamppost.errors import LinkError
from lamppost.links import faults

Link = TypeVar("Link")

LONGEST_LEASE = 120.0
"""Seconds: whoever is forgotten at the cabinet does not stop the polling for longer."""


class Turn(asyncio.Lock):
    """A lock that counts how often it was given back, so that one that nobody gives back can be told."""

    given_back = 0

    def release(self) -> None:
        """As asyncio.Lock."""
        super().release()
        self.given_back += 1


class Bus(Generic[Link]):
    """One link, one lock. Whoever holds the lock may use the link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.turn = Turn()
        """Held for one request, or the few of one reading: `async with bus.turn: …`."""
        self.leased = False
        """Whether somebody holds a lease; pollers then do not wait for their turn."""
        self.holder = ""
        """Who holds it, for people."""

    @asynccontextmanager
    async def lease(self, seconds: float, who: str = "a technician") -> AsyncIterator[Link]:
        """The link alone, from the end of the present request on, for at most `seconds` (and LONGEST_LEASE).

        Raises LinkError `link.lease-over` in the holder when the time is up, and `link.busy` if another holds one.
        """
        if self.leased:
            raise LinkError(
                f"{self.holder} holds the bus",
                code="link.busy",
                hint="wait until it is given back, in 2 minutes at most",
                retry=True,
            )
        self.leased, self.holder = True, who
        try:
            async with self.turn, asyncio.timeout(min(seconds, LONGEST_LEASE)) as limit:
                yield self.link
        except TimeoutError:
            if not limit.expired():
                raise
            raise faults.lease_over() from None
        finally:
            self.leased, self.holder = False, ""
