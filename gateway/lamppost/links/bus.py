"""A link that several take turns on: the poller between requests, a technician for a bounded while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from lamppost.errors import LinkError

Link = TypeVar("Link")

LONGEST_LEASE = 120.0
"""Seconds: whoever is forgotten at the cabinet does not stop the polling for longer."""


class Bus(Generic[Link]):
    """One link, one lock. Whoever holds the lock may use the link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.turn = asyncio.Lock()
        """Held for one request, or the few of one reading: `async with bus.turn: …`."""
        self.leased = False
        """Whether somebody holds a lease; pollers then do not wait for their turn."""

    @asynccontextmanager
    async def lease(self, seconds: float) -> AsyncIterator[Link]:
        """The link alone, from the end of the present request on, for at most `seconds` (and LONGEST_LEASE).

        Raises LinkError `link.lease-over` in the holder when the time is up, and `link.busy` if another holds one.
        """
        if self.leased:
            raise LinkError(
                "another lease holds the bus",
                code="link.busy",
                hint="wait until it ends, in 2 minutes at most",
                retry=True,
            )
        self.leased = True
        try:
            async with self.turn, asyncio.timeout(min(seconds, LONGEST_LEASE)) as limit:
                yield self.link
        except TimeoutError:
            if not limit.expired():
                raise
            raise LinkError(
                f"the lease of {seconds:g} s is over",
                code="link.lease-over",
                hint="ask for another one",
                retry=True,
            ) from None
        finally:
            self.leased = False
