"""Shuts the receiver's gate while the hub could not keep what it takes: back-pressure instead of an endless queue."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamppost.errors import StoreError
from lamppost_hub.clock import Clock
from lamppost_hub.queue import Queue
from lamppost_hub.thread import DatabaseThread

log = logging.getLogger("lamppost_hub.brake")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many batches a sink may be behind, and how many bytes the disk must have left."""

    backlog: int = 100_000
    free_bytes: int = 64 << 20


class Brake:
    """Looks once a `period` (seconds) and opens or shuts the gate."""

    def __init__(
        self,
        gate: asyncio.Event,
        queue: Queue,
        sinks: Sequence[str],
        folder: Path,
        thread: DatabaseThread,
        clock: Clock,
        limits: Limits,
        period: float = 1.0,
    ) -> None:
        self._gate = gate
        self._queue = queue
        self._sinks = sinks
        self._folder = folder
        self._thread = thread
        self._clock = clock
        self._limits = limits
        self._period = period

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(self._period)

    async def look(self) -> None:
        """Open or shut the gate once."""
        try:
            why = await self._thread.call(self._reason)
        except StoreError as error:
            why = f"{error.code}: {error}"
        if why and self._gate.is_set():
            log.error("nothing is taken any more: %s", why)
            self._gate.clear()
        elif not why and not self._gate.is_set():
            log.info("batches are taken")
            self._gate.set()

    def _reason(self) -> str:
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._limits.free_bytes:
            return f"only {free >> 20} MiB are free below {self._folder}"
        for sink in self._sinks:
            behind = self._queue.backlog(sink)
            if behind >= self._limits.backlog:
                return f"sink {sink} is {behind} batches behind"
        return ""
