"""The receiver's part that makes one checkpoint of every grown log a UTC day, soon after midnight."""

from __future__ import annotations

import logging

from lamppost.errors import LamppostError
from lamppost_hub.checkpoint import DAY, Checkpoints
from lamppost_hub.clock import Clock
from lamppost_hub.thread import DatabaseThread

log = logging.getLogger("lamppost_hub.notary")

LOOK = 900.0  # seconds at most between two looks at the calendar: the clock may be set


class Notary:
    """Looks at the start and after every midnight; several receivers may, for the database decides what is due."""

    def __init__(self, checkpoints: Checkpoints, thread: DatabaseThread, clock: Clock) -> None:
        self._checkpoints = checkpoints
        self._thread = thread
        self._clock = clock
        self._told: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            left = (DAY - self._clock.utc() % DAY) / 1e9
            await self._clock.sleep(min(LOOK, left + 1))

    async def look(self) -> int:
        """Make what is due; returns how many were made. What cannot be made is said in the log, once a cause."""
        made = 0
        try:
            due = await self._thread.call(self._checkpoints.due, self._clock.utc())
        except LamppostError as error:
            log.error("%s: %s (%s)", error.code, error, error.hint)
            return 0
        for stream in due:  # one call each: booking goes on in between
            key = stream.gateway, stream.epoch
            try:
                utc = self._clock.utc()
                made += (await self._thread.call(self._checkpoints.make, *key, utc)).new
            except (LamppostError, OSError) as error:
                self._say(key, error)
            else:
                self._told.pop(key, None)
        return made

    def _say(self, key: tuple[str, str], error: LamppostError | OSError) -> None:
        text = (
            f"{error.code}: {error} ({error.hint})"
            if isinstance(error, LamppostError)
            else str(error)
        )
        if self._told.get(key) != text:
            self._told[key] = text
            log.error("no checkpoint: %s", text)
