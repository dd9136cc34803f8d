"""The ring on a thread of its own, so that a slow card never delays a poll.

One thread does all reading and writing in the order asked; what the event loop needs at once (batches in flight,
statistics) is a snapshot taken after each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lamppost.model import Batch, Span
from lamppost.ring.ring import Record, Ring, RingStats

Result = TypeVar("Result")


class OffLoop:
    """Asynchronous face of a Ring. Close it before the loop ends; then the ring is closed too."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ring")
        self._held: tuple[Batch, ...] = tuple(ring.held())
        self._stats = ring.stats()
        self._head = ring.head()
        self._settling: set[tuple[str, int]] = set()

    async def append(self, records: Sequence[Record]) -> Span:
        """Durable when it returns, as `Ring.append`."""
        return await self.call(lambda ring: ring.append(records))

    async def call(self, step: Callable[[Ring], Result]) -> Result:
        """Run `step` on the ring's thread, after everything asked before it."""
        return await asyncio.wrap_future(self._submit(step))

    def held(self) -> list[Batch]:
        """Sealed batches not yet settled, in order of seq, as of the last finished step."""
        return [b for b in self._held if (b.epoch, b.seq) not in self._settling]

    def settle(self, epoch: str, seq: int) -> bool:
        """A receipt for this batch was verified. Returns at once; should the power fail before the cursor is
        durable, the batch is sent again and answered with the same receipt."""
        if not any((b.epoch, b.seq) == (epoch, seq) for b in self.held()):
            return False
        self._settling.add((epoch, seq))
        done = self._submit(lambda ring: ring.settle(epoch, seq))
        done.add_done_callback(lambda _: self._settling.discard((epoch, seq)))
        return True

    def stats(self) -> RingStats:
        """The ring's statistics as of the last finished step."""
        return self._stats

    def head(self) -> Batch | None:
        """The newest batch sealed in this epoch, as of the last finished step."""
        return self._head

    async def close(self) -> None:
        """Finish what was asked, close the ring, end the thread."""
        await self.call(Ring.close)
        self._thread.shutdown()

    def _submit(self, step: Callable[[Ring], Result]) -> Future[Result]:
        def run() -> Result:
            try:
                return step(self._ring)
            finally:
                self._held = tuple(self._ring.held())
                self._stats = self._ring.stats()
                self._head = self._ring.head()

        return self._thread.submit(run)
