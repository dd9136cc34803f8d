"""A file of lines, one delivery each: appended, fsynced, easy to read with anything.

Line: {"gateway", "epoch", "seq", "first", "last", "received", "entities"}, in this order. A line that a power cut left
torn is cut off when the file is opened; the hub sends its delivery again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import orjson

from lamppost.errors import HubError
from lamppost_hub.delivery import Delivery, check
from lamppost_hub.files import FileLock, sync_folder
from lamppost_hub.sinks.opening import disk
from lamppost_hub.sinks.worker import Worker

REMEMBERED = 64 * 1024**2  # how many bytes of the file's end are searched for what was written

_KEY = re.compile(rb'\{"gateway":"((?:[^"\\]|\\.)*)","epoch":"((?:[^"\\]|\\.)*)","seq":(\d+),')


class JsonlSink:
    """The only writer of its file; a second one is refused."""

    def __init__(self, path: Path, descriptor: int, lock: FileLock) -> None:
        self._path = path
        self._descriptor = descriptor
        self._lock = lock
        self._worker = Worker(path)
        self._known = _recover(descriptor)

    @classmethod
    def open(cls, path: Path) -> JsonlSink:
        """Open or create the file. Raises HubError `sink.disk`, or `sink.in-use` where another process writes it."""
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not lock.try_hold():
                raise HubError(
                    f"{path} is written by another process",
                    code="sink.in-use",
                    hint="stop the other receiver, or give this one another file",
                )
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            sync_folder(path.parent)
            return cls(path, descriptor, lock)
        except OSError as error:
            lock.release()
            raise disk(path, error) from error

    async def write(self, delivery: Delivery) -> None:
        """Append a delivery; on the disk when this returns. Raises HubError `sink.disk` or `sink.payload`."""
        check(delivery)
        await self._worker.run(lambda: self._append(delivery))

    async def close(self) -> None:
        """Close the file and let others have it."""
        await self._worker.close(self._end)

    def _append(self, delivery: Delivery) -> None:
        if delivery.key in self._known:
            return
        line = orjson.dumps(
            {
                "gateway": delivery.gateway,
                "epoch": delivery.epoch,
                "seq": delivery.seq,
                "first": delivery.span_first,
                "last": delivery.span_last,
                "received": delivery.received_ns,
                "entities": delivery.entities,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        size = os.fstat(self._descriptor).st_size
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)  # no half line before the next one
            raise
        self._known.add(delivery.key)

    def _end(self) -> None:
        os.close(self._descriptor)
        self._lock.release()


def _recover(descriptor: int) -> set[tuple[str, str, int]]:
    """Cut a torn last line off; the keys of the deliveries in the file's last part."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - REMEMBERED)
    tail = os.pread(descriptor, size - start, start)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, start + whole)
        os.fsync(descriptor)
    known = set()
    for line in tail[:whole].split(b"\n"):
        if key := _KEY.match(line):
            gateway, epoch = (orjson.loads(b'"' + part + b'"') for part in key.groups()[:2])
            known.add((gateway, epoch, int(key[3])))
    return known
