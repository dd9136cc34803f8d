"""What direct mode must know after a restart: a journal of lines, written before and after each step.

    ["open", job]                       the batch is about to be written
    ["part", job, part]                 this request of its history was answered
    ["newest", [[entity, attribute, dataset, microseconds], …]]     what the current state was given
    ["done", job]                       the broker has answered for all of it
    ["abandoned", job]                  nothing of it was written; its batches get other jobs

Append only, one fdatasync a line; rewritten as a whole when it has grown. A torn last line is cut. Source of the
interface: `lamppost.ngsild.memory.Memory`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from lamppost.errors import StoreError
from lamppost.files import durable_write
from lamppost.ngsild.plan import Key

SCHEMA = "lamppost.direct-journal/1"
GROWN = 512 * 1024  # bytes after which the journal is rewritten, if it has doubled as well
MAX_KEYS = 50_000  # attributes remembered; the ones written longest ago are forgotten first
MAX_DONE = 256  # finished jobs remembered: more than batches can be held


class Journal:
    """Memory of one broker and tenant. Raises StoreError `direct.disk` where a line cannot be made durable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: dict[str, dict[Key, int]] = {}
        self._jobs: dict[str, set[str]] = {}
        self._done: dict[str, None] = {}
        self.damaged = 0  # lines that could not be read
        self._file = -1
        self._size = self._compact = 0

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read the journal, or begin one. Raises StoreError `direct.disk`."""
        journal = cls(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = path.read_bytes() if path.exists() else b""
            for line in raw[: raw.rfind(b"\n") + 1].splitlines():
                journal._read(line)
            journal._rewrite()
        except OSError as failed:
            raise _disk(path, failed) from failed
        return journal

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # -- what the loop asks ----------------------------------------------------------------------------------------

    def opened(self) -> list[str]:
        """Jobs that were begun and not finished, oldest first."""
        return list(self._jobs)

    def finished(self) -> list[str]:
        """Jobs that the broker has answered for whole, as many as are remembered."""
        return list(self._done)

    async def abandon(self, job: str) -> None:
        """Forget a job of which nothing was written, or that nobody will ask for again."""
        self._append(["abandoned", job])
        self._jobs.pop(job, None)

    # -- Memory ----------------------------------------------------------------------------------------------------

    async def newest(self, identities: Sequence[str]) -> Mapping[Key, int]:
        """The moments last written for these entities."""
        return {k: at for i in identities for k, at in self._newest.get(i, {}).items()}

    async def advance(self, written: Mapping[Key, int]) -> None:
        """Remember newer moments."""
        if written:
            self._append(["newest", [[*key, at] for key, at in written.items()]])
            self._advance(written)

    async def open_job(self, job: str) -> frozenset[str] | None:
        """Begin a job."""
        if job in self._jobs:
            return frozenset(self._jobs[job])
        self._append(["open", job])
        self._jobs[job] = set()
        return None

    async def part_done(self, job: str, part: str) -> None:
        """Remember a part."""
        self._append(["part", job, part])
        self._jobs.setdefault(job, set()).add(part)

    async def close_job(self, job: str) -> None:
        """Forget the parts, remember that the job is done."""
        self._append(["done", job])
        self._finish(job)

    # -- the file --------------------------------------------------------------------------------------------------

    def _read(self, line: bytes) -> None:
        try:
            match orjson.loads(line):
                case ["open", str(job)]:
                    self._jobs.setdefault(job, set())
                case ["part", str(job), str(part)]:
                    self._jobs.setdefault(job, set()).add(part)
                case ["newest", list(entries)]:
                    self._advance({(str(e), str(a), str(d)): int(at) for e, a, d, at in entries})
                case ["abandoned", str(job)]:
                    self._jobs.pop(job, None)
                case ["done", str(job)]:
                    self._finish(job)
                case {"schema": str(schema)} if schema == SCHEMA:
                    pass
                case _:
                    self.damaged += 1
        except (ValueError, TypeError):
            self.damaged += 1

    def _advance(self, written: Mapping[Key, int]) -> None:
        for key, at in written.items():
            known = self._newest.setdefault(key[0], {})
            known[key] = max(at, known.get(key, at))

    def _finish(self, job: str) -> None:
        self._jobs.pop(job, None)
        self._done.pop(job, None)
        self._done[job] = None
        while len(self._done) > MAX_DONE:
            del self._done[next(iter(self._done))]

    def _append(self, line: list[Any]) -> None:
        raw = orjson.dumps(line) + b"\n"
        try:
            if self._file < 0 or (self._size > GROWN and self._size > 2 * self._compact):
                self._rewrite()
            view = memoryview(raw)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
            self._size += len(raw)
        except OSError as failed:
            self.close()  # what may stand there half is rewritten before the next line
            raise _disk(self._path, failed) from failed

    def _rewrite(self) -> None:
        self._forget()
        lines: list[Any] = [{"schema": SCHEMA}]
        lines += [
            ["newest", [[*key, at] for key, at in known.items()]] for known in self._newest.values()
        ]
        for job, parts in self._jobs.items():
            lines += [["open", job], *(["part", job, part] for part in sorted(parts))]
        lines += [["done", job] for job in self._done]
        raw = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        self.close()
        durable_write(self._path, raw, 0o640)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = self._compact = len(raw)

    def _forget(self) -> None:
        """Entities that are written no more (a device was removed) do not stay for ever."""
        count = sum(map(len, self._newest.values()))
        if count <= MAX_KEYS:
            return
        for entity in sorted(self._newest, key=lambda e: max(self._newest[e].values())):
            count -= len(self._newest.pop(entity))
            if count <= MAX_KEYS:
                return


class Shared:
    """A writer's journal that also knows what the writer beside it has made the newest."""

    def __init__(self, own: Journal, other: Journal) -> None:
        self._own = own
        self._other = other
        self.open_job = own.open_job
        self.part_done = own.part_done
        self.close_job = own.close_job
        self.advance = own.advance

    async def newest(self, identities: Sequence[str]) -> Mapping[Key, int]:
        """The moments last written for these entities by either."""
        found = dict(await self._own.newest(identities))
        for key, at in (await self._other.newest(identities)).items():
            found[key] = max(at, found.get(key, at))
        return found


def _disk(path: Path, failed: OSError) -> StoreError:
    return StoreError(
        f"{path}: {failed.strerror or failed}",
        code="direct.disk",
        hint="check free space, permissions and the kernel log of the card",
        retry=True,
    )
