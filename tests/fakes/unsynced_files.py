"""The operating system's files without waiting for the disk: for long virtual times, not for power cuts."""

from __future__ import annotations

from pathlib import Path

from lamppost.ring.disk import File, OsFiles


class UnsyncedFile:
    """Counts what would have been synced."""

    def __init__(self, file: File, owner: UnsyncedFiles) -> None:
        self._file = file
        self._owner = owner
        self.pread = file.pread
        self.pwrite = file.pwrite
        self.size = file.size
        self.close = file.close

    def fdatasync(self) -> None:
        self._owner.syncs += 1


class UnsyncedFiles(OsFiles):
    """`syncs` is how often a real disk would have been waited for."""

    def __init__(self) -> None:
        self.syncs = 0

    def open(self, path: Path, *, create: bool = False) -> File:
        return UnsyncedFile(super().open(path, create=create), self)
