"""One writer at a time for the current state of an entity: readings and live values come by two ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Turns:
    """Entities whose current state is being written. Whoever wants one of them waits; others pass."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._left = asyncio.Event()

    @asynccontextmanager
    async def of(self, identities: Iterable[str]) -> AsyncIterator[None]:
        """Have these entities to oneself."""
        wanted = set(identities)
        while not self._taken.isdisjoint(wanted):
            await self._left.wait()
        self._taken |= wanted
        try:
            yield
        finally:
            self._taken -= wanted
            self._left.set()  # wakes all who wait
            self._left = asyncio.Event()
