"""Durable small files: write, fsync, rename, fsync of the folder. The only place that renames.

Beside them the one file that tells boards apart: the serial number in the device tree.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamppost.errors import StoreError


def durable_write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content` so that after a power cut either the old or the new whole file is there.

    Raises OSError as it comes from the disk; the file under `path` is then the old one.
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


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (names created, renamed, removed) durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold an exclusive advisory lock on `path` (created if absent); the file names its holder's process id.

    Raises StoreError `store.in-use` when another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(
                f"{purpose}: {path} is held by process {holder}",
                code="store.in-use",
                hint=f"stop the other lamppost (process {holder}) or give this one another state folder",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def board_serial(root: Path = Path("/")) -> str:
    """The serial number of this board as its firmware tells it (device tree), "" where there is none."""
    try:
        told = (root / "proc/device-tree/serial-number").read_bytes()
    except OSError:
        return ""
    return "".join(c for c in told.decode("ascii", "replace") if c.isalnum() or c in "-_.")[:64]
