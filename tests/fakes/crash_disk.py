"""A disk in memory behind the ring's `Files`: records every write, fails on demand, loses what was not synced.

A write reaches the cache; `fdatasync` moves it to the medium. A failed `fdatasync` drops the writes and leaves the
cache looking as if they had arrived, as Linux does. After a power cut only the medium is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

SECTOR = 512

Act = Literal["create", "write", "sync", "remove", "sync-folder", "read"]
Fault = Callable[
    [Act, str, int, int], int
]  # (what, file name, offset, length) -> errno, 0 for none


@dataclass(frozen=True)
class Step:
    """One thing that was done to the disk, or a `note` that the caller put between two of them."""

    act: Act | Literal["note"]
    name: str = ""
    offset: int = 0
    content: bytes = b""
    note: object = None


def no_fault(_act: Act, _name: str, _offset: int, _length: int) -> int:
    return 0


class CrashDisk:
    """One folder of files. `medium` is what a power cut leaves (apart from unsynced writes that made it)."""

    def __init__(self, medium: dict[str, bytes] | None = None, seed: int = 0) -> None:
        self.medium: dict[str, bytes] = dict(medium or {})
        self.cache: dict[str, bytearray] = {n: bytearray(c) for n, c in self.medium.items()}
        self.pending: dict[str, list[tuple[int, bytes]]] = {}
        self.steps: list[Step] | None = None
        self.fault: Fault = no_fault
        self.syncs = 0
        self._entropy = Random(seed)

    # -- Files -------------------------------------------------------------------------------------

    def make_folder(self, folder: Path) -> None:
        pass

    def lock(self, folder: Path) -> Callable[[], None]:
        return lambda: None

    def names(self, folder: Path) -> list[str]:
        return sorted(self.cache)

    def open(self, path: Path, *, create: bool = False) -> CrashFile:
        name = path.name
        if name not in self.cache:
            if not create:
                raise FileNotFoundError(2, "no such file", name)
            self._act("create", name)
            self.cache[name] = bytearray()
        return CrashFile(self, name)

    def remove(self, path: Path) -> None:
        if path.name not in self.cache:
            raise FileNotFoundError(2, "no such file", path.name)
        self._act("remove", path.name)
        del self.cache[path.name]
        self.pending.pop(path.name, None)

    def sync_folder(self, folder: Path) -> None:
        self._act("sync-folder", "")
        for name in set(self.medium) - set(self.cache):
            del self.medium[name]
        for name in set(self.cache) - set(self.medium):
            self.medium[name] = b""
            self._land(name)

    def random(self, length: int) -> bytes:
        return self._entropy.randbytes(length)

    # -- what a test does --------------------------------------------------------------------------

    def note(self, note: object) -> None:
        """Put a mark between the recorded steps."""
        if self.steps is not None:
            self.steps.append(Step("note", note=note))

    def overwrite(self, name: str, offset: int, content: bytes) -> None:
        """Damage the medium itself."""
        put(self.cache[name], offset, content)
        medium = bytearray(self.medium[name])
        put(medium, offset, content)
        self.medium[name] = bytes(medium)
        if self.steps is not None:
            self.steps.append(Step("note", name, offset, content, "damage"))

    def power_cut(self, dice: Random) -> CrashDisk:
        """What a power cut leaves: unsynced writes survive or not, sector by sector."""
        left = dict(self.medium)
        for name, writes in self.pending.items():
            file = bytearray(left[name]) if name in left else None
            for offset, content in writes:
                for at, sector in sectors(offset, content):
                    if file is not None and dice.random() < 0.5:
                        put(file, at, sector)
            if file is not None:
                left[name] = bytes(file)
        return CrashDisk(left, dice.randrange(2**32))

    # -- within ------------------------------------------------------------------------------------

    def _act(
        self, act: Act, name: str, offset: int = 0, content: bytes = b"", length: int = 0
    ) -> None:
        if error := self.fault(act, name, offset, length or len(content)):
            if act == "sync":
                self.pending.pop(name, None)  # the kernel calls these pages clean now
            raise OSError(error, os.strerror(error), name)
        if self.steps is not None and act != "read":
            self.steps.append(Step(act, name, offset, content))

    def _land(self, name: str) -> None:
        if name in self.medium:
            file = bytearray(self.medium[name])
            for offset, content in self.pending.pop(name, []):
                put(file, offset, content)
            self.medium[name] = bytes(file)


class CrashFile:
    """An open file of a CrashDisk."""

    def __init__(self, disk: CrashDisk, name: str) -> None:
        self._disk = disk
        self._name = name

    def pread(self, length: int, offset: int) -> bytes:
        self._disk._act("read", self._name, offset, length=length)
        return bytes(self._disk.cache[self._name][offset : offset + length])

    def pwrite(self, content: bytes, offset: int) -> None:
        self._disk._act("write", self._name, offset, content)
        put(self._disk.cache[self._name], offset, content)
        self._disk.pending.setdefault(self._name, []).append((offset, content))

    def fdatasync(self) -> None:
        self._disk._act("sync", self._name)
        self._disk.syncs += 1
        self._disk._land(self._name)

    def size(self) -> int:
        return len(self._disk.cache[self._name])

    def close(self) -> None:
        pass


class CrashFolder:
    """One of several folders of a CrashDisk: its names begin with `prefix` there. A sync of names is that of all."""

    def __init__(self, disk: CrashDisk, prefix: str) -> None:
        self._disk = disk
        self._prefix = prefix
        self.make_folder = disk.make_folder
        self.lock = disk.lock
        self.sync_folder = disk.sync_folder
        self.random = disk.random

    def names(self, folder: Path) -> list[str]:
        length = len(self._prefix)
        return [n[length:] for n in self._disk.names(folder) if n.startswith(self._prefix)]

    def open(self, path: Path, *, create: bool = False) -> CrashFile:
        return self._disk.open(path.with_name(self._prefix + path.name), create=create)

    def remove(self, path: Path) -> None:
        self._disk.remove(path.with_name(self._prefix + path.name))


def put(file: bytearray, offset: int, content: bytes) -> None:
    """Write into a file's bytes, growing it with zeros."""
    if len(file) < offset:
        file.extend(bytes(offset - len(file)))
    file[offset : offset + len(content)] = content


def sectors(offset: int, content: bytes) -> Iterator[tuple[int, bytes]]:
    """A write cut where sectors end: (offset, bytes)."""
    at = 0
    while at < len(content):
        size = SECTOR - (offset + at) % SECTOR
        yield offset + at, content[at : at + size]
        at += size
