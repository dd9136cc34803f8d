"""All file access of the ring, behind a small interface: tests record, replay and fail every write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from lamppost.errors import StoreError
from lamppost.files import locked, sync_folder

DISK_FULL, READ_ONLY, IO_ERROR = "disk-full", "read-only", "io-error"

_HINTS = {
    DISK_FULL: "free space on the disk (df -h) or give the ring a smaller size in the site file",
    READ_ONLY: "the file system is read-only: look at dmesg, check the card, then remount it",
    IO_ERROR: "the disk returns errors: look at dmesg and plan to replace the card",
}


class File(Protocol):
    """An open file. Offsets and lengths are bytes; every method may raise OSError as the disk gives it."""

    def pread(self, length: int, offset: int) -> bytes:
        """Bytes from `offset`, fewer at the end of the file."""
        ...

    def pwrite(self, content: bytes, offset: int) -> None:
        """Write all of `content`; not durable before `fdatasync`."""
        ...

    def fdatasync(self) -> None:
        """Make what was written durable."""
        ...

    def size(self) -> int:
        """Length of the file."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class Files(Protocol):
    """The file system, as far as the ring needs one."""

    def make_folder(self, folder: Path) -> None:
        """Create the folder (and its parents) unless it is there."""
        ...

    def lock(self, folder: Path) -> Callable[[], None]:
        """Keep other processes out until the returned function is called. Raises StoreError `store.in-use`."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Names of the files in the folder."""
        ...

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing, or for reading only where the disk allows no more."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; not durable before `sync_folder`."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make created and removed names durable."""
        ...

    def random(self, length: int) -> bytes:
        """Unpredictable bytes: ids of rings and epochs."""
        ...


class OsFile:
    """A descriptor of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, length: int, offset: int) -> bytes:
        """As `File.pread`."""
        return os.pread(self._descriptor, length, offset)

    def pwrite(self, content: bytes, offset: int) -> None:
        """As `File.pwrite`; goes on after a short write."""
        written = os.pwrite(self._descriptor, content, offset)
        while written < len(content):
            written += os.pwrite(self._descriptor, memoryview(content)[written:], offset + written)

    def fdatasync(self) -> None:
        """As `File.fdatasync`."""
        os.fdatasync(self._descriptor)

    def size(self) -> int:
        """As `File.size`."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """As `File.close`."""
        os.close(self._descriptor)


class OsFiles:
    """The operating system's files."""

    def make_folder(self, folder: Path) -> None:
        """As `Files.make_folder`; the name is made durable too."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)

    def lock(self, folder: Path) -> Callable[[], None]:
        """As `Files.lock`; a read-only file system needs no lock."""
        held = ExitStack()
        try:
            held.enter_context(locked(folder / "lock", "ring"))
        except OSError as failed:
            if failed.errno != errno.EROFS:
                raise
        return held.close

    def names(self, folder: Path) -> list[str]:
        """As `Files.names`."""
        return os.listdir(folder)

    def open(self, path: Path, *, create: bool = False) -> File:
        """As `Files.open`."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            return OsFile(os.open(path, flags, 0o640))
        except OSError as failed:
            if failed.errno != errno.EROFS or create:
                raise
            return OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))

    def remove(self, path: Path) -> None:
        """As `Files.remove`."""
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        """As `Files.sync_folder`."""
        sync_folder(folder)

    def random(self, length: int) -> bytes:
        """As `Files.random`."""
        return os.urandom(length)


def trouble_of(failed: OSError) -> str:
    """The name of the state that an error of the disk puts the ring in."""
    if failed.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if failed.errno in (errno.EROFS, errno.EBADF):  # EBADF: opened while the disk was read-only
        return READ_ONLY
    return IO_ERROR


def store_error(state: str, what: str) -> StoreError:
    """The error of a state, for calls that must be durable or fail. Waiting may help."""
    return StoreError(what, code=f"ring.{state}", hint=_HINTS[state], retry=True)
