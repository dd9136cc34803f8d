"""Entities that the broker refuses for good: kept as files, named in status, offered again when a person says so.

One file a batch, `<job>.json`: {"schema", "job", "refused": [{"status", "problem", "entity"}, …]}. The folder is
bounded; the oldest go first and are counted. `<job>.again` beside it asks the daemon to offer it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lamppost.errors import SiteError, StoreError
from lamppost.files import durable_write, sync_folder

SCHEMA = "lamppost.refused/1"
LIMIT = 8 * 1024**2
COUNTS = "dropped.json"


@dataclass(frozen=True, slots=True)
class Letter:
    """What of one batch was refused."""

    job: str
    refused: tuple[dict[str, Any], ...]
    size: int
    again: bool

    @property
    def first_problem(self) -> str:
        """Status and words of the first refusal."""
        if not self.refused:
            return ""
        problem = self.refused[0].get("problem") or {}
        said = problem.get("detail") or problem.get("title") or ""
        return f"{self.refused[0].get('status')} {said}".strip()[:200]


class Box:
    """The folder. Raises StoreError `direct.disk` where it cannot be written."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit

    def letters(self) -> list[Letter]:
        """All of them, the oldest first; a file that cannot be read is passed over."""
        paths = sorted(self._folder.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))
        found = (self._letter(path) for path in paths if path.name != COUNTS)
        return [letter for letter in found if letter is not None]

    def dropped(self) -> int:
        """How many refused entities were given up because the folder was full."""
        try:
            return int(orjson.loads((self._folder / COUNTS).read_bytes())["entities"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def keep(self, job: str, refused: Sequence[dict[str, Any]]) -> None:
        """Keep what was refused of a job; durable when this returns. The same job again replaces its file."""
        raw = orjson.dumps({"schema": SCHEMA, "job": job, "refused": list(refused)})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            durable_write(self._path(job), raw, 0o640)
            self._trim(job)
        except OSError as failed:
            raise _disk(self._folder, failed) from failed

    def forget(self, job: str) -> None:
        """The broker has taken it."""
        try:
            self._path(job).unlink(missing_ok=True)
            self._mark(job).unlink(missing_ok=True)
            sync_folder(self._folder)
        except OSError as failed:
            raise _disk(self._folder, failed) from failed

    def calm(self, job: str) -> None:
        """It was offered again and refused again."""
        self._mark(job).unlink(missing_ok=True)

    def ask_again(self, jobs: Sequence[str]) -> int:
        """Mark these letters (all where none is named) to be offered again; how many.

        Raises SiteError `direct.no-letter` for a name that is none.
        """
        known = [letter.job for letter in self.letters()]
        for job in jobs:
            if job not in known:
                raise SiteError(
                    f"no refused batch {job}",
                    code="direct.no-letter",
                    hint="see their names with: lamppost refused list",
                )
        try:
            for job in jobs or known:
                self._mark(job).touch(mode=0o640)
        except OSError as failed:
            raise _disk(self._folder, failed) from failed
        return len(jobs or known)

    def _trim(self, newest: str) -> None:
        letters = self.letters()
        size = sum(letter.size for letter in letters)
        lost = 0
        for letter in letters:
            if size <= self._limit or letter.job == newest:
                break
            self.forget(letter.job)
            size -= letter.size
            lost += len(letter.refused)
        if lost:
            raw = orjson.dumps({"entities": self.dropped() + lost})
            durable_write(self._folder / COUNTS, raw, 0o640)

    def _letter(self, path: Path) -> Letter | None:
        try:
            raw = path.read_bytes()
            found = orjson.loads(raw)
            return Letter(
                str(found["job"]),
                tuple(found["refused"]),
                len(raw),
                self._mark(found["job"]).exists(),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, job: str) -> Path:
        return self._folder / f"{job.replace('/', '_')}.json"

    def _mark(self, job: str) -> Path:
        return self._folder / f"{job.replace('/', '_')}.again"


def _disk(folder: Path, failed: OSError) -> StoreError:
    return StoreError(
        f"{folder}: {failed.strerror or failed}",
        code="direct.disk",
        hint="check free space, permissions and the kernel log of the card",
        retry=True,
    )
