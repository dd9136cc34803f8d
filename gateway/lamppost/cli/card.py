"""A ring on a card, opened without touching it: for peek, export and verify, also while its daemon is down for good."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamppost.errors import StoreError
from lamppost.ngsild.normalized import utc_text
from lamppost.packing import unpack
from lamppost.ring import Ring
from lamppost.ring.coarse import CoarseRing
from lamppost.ring.disk import File, Files
from lamppost.timeline import Timeline

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One reading as a table shows it. `utc` is empty where nothing is known of its boot."""

    number: int
    device: str
    point: str
    value: float | int | bool | str | None
    quality: str
    reason: str
    utc: str
    time_quality: str
    boot: str
    boottime_ns: int


class Overlay:
    """A file whose changes stay in memory; the disk's is opened for reading only."""

    def __init__(self, path: Path, changed: dict[Path, bytearray]) -> None:
        self._path = path
        self._changed = changed
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = -1 if path in changed else os.open(path, flags)

    def pread(self, length: int, offset: int) -> bytes:
        """As `File.pread`."""
        if self._path in self._changed:
            return bytes(self._changed[self._path][offset : offset + length])
        return os.pread(self._descriptor, length, offset)

    def pwrite(self, content: bytes, offset: int) -> None:
        """As `File.pwrite`, in memory."""
        if self._path not in self._changed:
            self._changed[self._path] = bytearray(self.pread(self.size(), 0))
        image = self._changed[self._path]
        image.extend(bytes(max(0, offset - len(image))))
        image[offset : offset + len(content)] = content

    def fdatasync(self) -> None:
        """Nothing is to be made durable."""

    def size(self) -> int:
        """As `File.size`."""
        if self._path in self._changed:
            return len(self._changed[self._path])
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """As `File.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ReadOnlyFiles:
    """`Files` of the ring on a disk that must stay as it is: what the ring writes stays in memory."""

    def __init__(self) -> None:
        self._changed: dict[Path, bytearray] = {}
        self._gone: set[Path] = set()

    def make_folder(self, folder: Path) -> None:
        """The folder is there, or there is no ring."""

    def lock(self, folder: Path) -> Callable[[], None]:
        """No lock: whoever only reads keeps nobody out."""
        return lambda: None

    def names(self, folder: Path) -> list[str]:
        """As `Files.names`."""
        made = {p.name for p in self._changed if p.parent == folder}
        gone = {p.name for p in self._gone if p.parent == folder}
        return sorted((set(os.listdir(folder)) | made) - gone)

    def open(self, path: Path, *, create: bool = False) -> File:
        """As `Files.open`; never for writing."""
        if create and not path.exists():
            self._changed.setdefault(path, bytearray())
            self._gone.discard(path)
        return Overlay(path, self._changed)

    def remove(self, path: Path) -> None:
        """As `Files.remove`, in memory."""
        self._changed.pop(path, None)
        self._gone.add(path)

    def sync_folder(self, folder: Path) -> None:
        """Nothing is to be made durable."""

    def random(self, length: int) -> bytes:
        """As `Files.random`."""
        return os.urandom(length)


@contextmanager
def opened(state: Path) -> Iterator[Ring]:
    """The ring of a state folder, or of a folder that is itself a ring. Not a byte of it is changed.

    Raises StoreError `ring.absent`, `ring.foreign`, `ring.newer-format`, `ring.wrong-owner`.
    """
    files: Files = ReadOnlyFiles()
    ring = Ring.open(folder_of(state), 0, files=files)
    try:
        yield ring
    finally:
        ring.close()


def coarse(state: Path) -> dict[str, Any]:
    """The coarse ring of a state folder in figures, read without touching it; empty where there is none."""
    from lamppost.rings import coarse_report

    with _coarse(state) as ring:
        return coarse_report(ring) if ring else {}


def coarse_damage(state: Path) -> list[str]:
    """Every damaged place of the coarse ring, as `Verification.damaged`, after the folder's name."""
    from lamppost.rings import COARSE

    with _coarse(state) as ring:
        return [f"{COARSE}/{place}" for place in ring.verify().damaged] if ring else []


@contextmanager
def _coarse(state: Path) -> Iterator[CoarseRing | None]:
    from lamppost.rings import COARSE

    folder = state / COARSE
    if not (folder / "ring.head").exists():
        yield None
        return
    ring = CoarseRing.open(folder, 0, files=ReadOnlyFiles())
    try:
        yield ring
    finally:
        ring.close()


def folder_of(state: Path) -> Path:
    """Where the ring's files are. Raises StoreError `ring.absent`."""
    for folder in (state / "ring", state):
        if folder.is_dir() and any(
            p.suffix == ".seg" or p.name == "ring.head" for p in folder.iterdir()
        ):
            return folder
    raise StoreError(
        f"no ring in {state}",
        code="ring.absent",
        hint="name the state folder with --state, on a card: --state /media/CARD/var/lib/lamppost",
    )


def is_written(state: Path) -> bool:
    """Whether a process has the ring open at this moment; asked without changing anything."""
    with suppress(OSError):
        descriptor = os.open(folder_of(state) / "lock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def rows(ring: Ring, state: Path, after: int, unreadable: list[str] | None = None) -> Iterator[Row]:
    """Every reading with a number past `after`, in order; payloads that are no samples are named in `unreadable`."""
    timeline = Timeline(state / "boots.json", send_unsynced=True)
    while stored := ring.read(after, READ_BYTES):
        for record in stored:
            try:
                sample = unpack(record.payload)
            except ValueError as wrong:
                if unreadable is not None:
                    unreadable.append(
                        f"readings {record.span.first} to {record.span.last}: {wrong}"
                    )
                continue
            placed = timeline.utc(sample.at)
            utc, trust = (utc_text(placed[0]), placed[1].value) if placed else ("", "")
            for offset, r in enumerate(sample.readings):
                yield Row(
                    record.span.first + offset, sample.device, r.point, r.value,
                    r.quality.severity.name.lower(), r.quality.reason, utc, trust,
                    sample.at.boot, sample.at.ns,
                )  # fmt: skip
        after = stored[-1].span.last
