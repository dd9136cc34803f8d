"""A sink's own thread: the disk never stops the event loop, and one thread means one writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lamppost.errors import StoreError
from lamppost_hub.sinks.opening import disk

T = TypeVar("T")


class Worker:
    """Runs functions one after the other. `what` names the file in errors."""

    def __init__(self, what: object) -> None:
        self.what = what
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink")

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread; StoreError and OSError come out as HubError `sink.disk`.

        Work that has begun ends whole, even if its caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except (StoreError, OSError) as error:
            raise disk(self.what, error) from error

    async def close(self, last: Callable[[], None]) -> None:
        """Run `last` after everything else, then end the thread."""
        await self.run(last)
        self._thread.shutdown(wait=False)
