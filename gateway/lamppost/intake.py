"""acquire → ring: collects samples and makes them durable in groups. Bounded; what overflows is counted, not hidden."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from lamppost.errors import StoreError
from lamppost.model import Sample
from lamppost.packing import pack
from lamppost.ring import Record
from lamppost.ring.offloop import OffLoop

log = logging.getLogger("lamppost.intake")

MAX_PENDING = 20_000  # samples; minutes of a large site while a dying card hangs in a write


class Intake:
    """Takes samples at once, hands them to the ring when asked to flush."""

    def __init__(self, ring: OffLoop) -> None:
        self._ring = ring
        # Packed as they come: a second's worth at once would hold up the polling, and many objects its collector.
        self._taken: deque[tuple[str, Record]] = deque()  # by device
        self._writing = False
        self.overflowed = 0

    @property
    def pending(self) -> int:
        """Readings taken and not yet durable."""
        return sum(record.count for _, record in self._taken)

    def deliver(self, sample: Sample, *, urgent: bool = False) -> None:
        """Take a sample; the ring keeps `urgent` ones longest.

        With the buffer full the oldest one gives way and is counted in `overflowed`.
        """
        if not sample.readings:
            return
        if len(self._taken) >= MAX_PENDING:
            self.overflowed += self._taken.popleft()[1].count
        record = Record(len(sample.readings), pack(sample), urgent)
        self._taken.append((sample.device, record))

    async def flush(self) -> None:
        """Append everything taken so far as one durable group. A failing disk keeps the group for the next time."""
        if self._writing or not self._taken:
            return
        group, self._taken = self._taken, deque()
        self._writing = True
        try:
            await self._ring.append([record for _, record in group])
        except StoreError as failed:
            log.error("%s: %s; %s", failed.code, failed, failed.hint)
            if failed.retry:
                self._taken.extendleft(reversed(group))
            else:
                await self._without_the_misfit(group)
        finally:
            self._writing = False

    async def _without_the_misfit(self, group: Iterable[tuple[str, Record]]) -> None:
        """One sample of the group can never be stored (`ring.record-too-big`): the others must not go with it."""
        for device, record in group:
            try:
                await self._ring.append([record])
            except StoreError as failed:
                log.error("%s: a sample of %s is dropped: %s", failed.code, device, failed)
                self.overflowed += record.count
