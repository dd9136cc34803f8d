"""What a broker's writer must remember between writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lamppost.ngsild.plan import Key


class Memory(Protocol):
    """Durable where exactly-once has to survive a restart; the hub's sink keeps it in SQLite.

    A job is one batch, a part one request of its history.
    """

    async def newest(self, identities: Sequence[str]) -> Mapping[Key, int]:
        """The moments (microseconds since 1970) last written for these entities."""
        ...

    async def advance(self, written: Mapping[Key, int]) -> None:
        """Remember these moments; an older one never replaces a newer."""
        ...

    async def open_job(self, job: str) -> frozenset[str] | None:
        """Begin a job: None if it is new, else the parts of it that are known to be done."""
        ...

    async def part_done(self, job: str, part: str) -> None:
        """Remember that this part of the job is done."""
        ...

    async def close_job(self, job: str) -> None:
        """The job is done; its parts may be forgotten."""
        ...


class RememberedWrites:
    """A Memory that lasts as long as the process."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[Key, int]] = {}
        self._jobs: dict[str, set[str]] = {}

    async def newest(self, identities: Sequence[str]) -> Mapping[Key, int]:
        """The moments last written for these entities."""
        return {k: at for i in identities for k, at in self._newest.get(i, {}).items()}

    async def advance(self, written: Mapping[Key, int]) -> None:
        """Remember newer moments."""
        for key, at in written.items():
            known = self._newest.setdefault(key[0], {})
            known[key] = max(at, known.get(key, at))

    async def open_job(self, job: str) -> frozenset[str] | None:
        """Begin a job."""
        if job in self._jobs:
            return frozenset(self._jobs[job])
        self._jobs[job] = set()
        return None

    async def part_done(self, job: str, part: str) -> None:
        """Remember a part."""
        self._jobs[job].add(part)

    async def close_job(self, job: str) -> None:
        """Forget the job."""
        self._jobs.pop(job, None)


class Parts:
    """The parts of one attempt at a job: what is done is passed over, what may have been done is asked about first.

    A part is named after its content. Between two attempts the plan may have changed (refusals, live values that were
    written meanwhile), so of a job that was begun before every part that is not done is in doubt.
    """

    def __init__(self, memory: Memory, job: str, done: frozenset[str] | None) -> None:
        self._memory = memory
        self._job = job
        self._done = done or frozenset()
        self.doubtful = done is not None  # what comes may have been done by an earlier attempt

    def begin(self, part: str) -> tuple[bool, bool]:
        """(whether the part has to run, whether an earlier attempt may have run it)."""
        if part in self._done:
            return False, False
        return True, self.doubtful

    async def end(self, part: str) -> None:
        """The part is done."""
        if self._job:
            await self._memory.part_done(self._job, part)

    async def close(self, refused: bool) -> None:
        """The attempt ended; with refusals the job stays open, so that what was refused can be sent again."""
        if self._job and refused:
            await self._memory.part_done(self._job, _REFUSED)
        elif self._job:
            await self._memory.close_job(self._job)


_REFUSED = "refused"
