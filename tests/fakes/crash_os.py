"""Small files on a disk that loses power: records what `lamppost.files` asks of `os`, and rebuilds what may be left.

Put a Recorder in the place of `lamppost.files.os` for code that writes with `durable_write` in one folder; every call
goes on to the real file system as well. Then `images(steps, cut)` gives each state that a power cut after `cut` steps
may leave: names are made durable by the sync of their folder (or by luck, in order), contents by the sync of their file
(or by luck: none of it, all of it, torn at a sector, or zeros where nothing was written yet).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fakes.crash_disk import SECTOR

Act = Literal["create", "write", "sync", "rename", "unlink", "sync-folder", "note"]


@dataclass(frozen=True)
class Step:
    """One thing that was done, by file names; or a note that the caller put between two of them."""

    act: Act
    name: str = ""
    to: str = ""
    content: bytes = b""
    note: Any = None


@dataclass
class Recorder:
    """Stands in for the module `os` in `lamppost.files`."""

    folder: Path
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def note(self, note: object) -> None:
        self.steps.append(Step("note", note=note))

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        self._open[descriptor] = str(Path(path).relative_to(self.folder))
        if flags & os.O_CREAT:
            self.steps.append(Step("create", self._open[descriptor]))
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self.steps.append(Step("write", self._open[descriptor], content=bytes(content)))
        return os.write(descriptor, content)

    def fsync(self, descriptor: int) -> None:
        name = self._open[descriptor]
        is_folder = (self.folder / name).is_dir()
        self.steps.append(Step("sync-folder" if is_folder else "sync", name))

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]
        os.close(descriptor)

    def replace(self, source: Any, target: Any) -> None:
        name, to = (str(Path(p).relative_to(self.folder)) for p in (source, target))
        self.steps.append(Step("rename", name, to))
        os.replace(source, target)

    def unlink(self, path: Path, missing_ok: bool = False) -> None:
        self.steps.append(Step("unlink", str(path.relative_to(self.folder))))
        os.unlink(path)


@dataclass
class _Inode:
    synced: bytes = b""
    cached: bytes = b""


def images(steps: list[Step], cut: int) -> Iterator[dict[str, bytes]]:
    """What the disk may hold, {name: content}, after the first `cut` steps and a power cut."""
    durable: dict[str, _Inode] = {}
    names: dict[str, _Inode] = {}
    since: list[
        dict[str, _Inode]
    ] = []  # the names after each change since the last sync of the folder
    for step in steps[:cut]:
        if step.act == "create":
            names = {**names, step.name: _Inode()}
            since.append(names)
        elif step.act == "write":
            names[step.name].cached += step.content
        elif step.act == "sync":
            names[step.name].synced = names[step.name].cached
        elif step.act == "rename":
            moved = {n: i for n, i in names.items() if n != step.name}
            names = {**moved, step.to: names[step.name]}
            since.append(names)
        elif step.act == "unlink":
            names = {n: i for n, i in names.items() if n != step.name}
            since.append(names)
        elif step.act == "sync-folder":
            durable, since = names, []
    for left in [durable, *since]:
        yield from _contents(left)


def _contents(left: dict[str, _Inode]) -> Iterator[dict[str, bytes]]:
    choices = [list(_variants(inode)) for inode in left.values()]
    for picked in itertools.product(*choices):
        yield dict(zip(left, picked, strict=True))


def _variants(inode: _Inode) -> Iterator[bytes]:
    yield inode.synced
    if inode.cached == inode.synced:
        return
    yield inode.cached
    yield bytes(len(inode.cached))
    for end in range(SECTOR, len(inode.cached), SECTOR):
        yield inode.cached[:end]
        yield inode.cached[:end] + bytes(len(inode.cached) - end)
