"""The hub's small files: durable, private, and renamed only here."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def durable_write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content`; after a power cut either the old or the new whole file is there.

    Write, fsync, rename, fsync of the folder. Raises OSError as it comes from the disk.
    """
    spare = path.with_name(path.name + ".new")
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(spare, path)
    sync_folder(path.parent)


@contextmanager
def durable_output(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write piece by piece; it takes the place of `path`, durably, when nothing was raised."""
    spare = path.with_name(path.name + ".new")
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    os.replace(spare, path)
    sync_folder(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Rename within one file system; after a power cut the file is at one of the two places."""
    os.replace(source, target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (names created, renamed, removed) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> Path:
    """Create `folder` (and its parents) for this user alone, mode 0700, and return it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class FileLock:
    """An advisory lock on one file (flock), released when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_hold(self) -> bool:
        """Take the lock if nobody has it; True if it is held now. Never waits."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
