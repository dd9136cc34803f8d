"""A disk image whose every write and flush is recorded in order, as a FUSE file system of two files. Needs root.

    python recording_disk.py FOLDER IMAGE LOG

mounts itself on FOLDER, which then holds `disk.img` (put a loop device on it) and `notes` (what is written there goes
into the log between the writes). The log holds records of kind (W, F, N), offset, length, bytes. It speaks the kernel's
FUSE protocol itself (linux/fuse.h, version 7.31): two files are no reason for a library. Ends when it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

RECORD = struct.Struct("<cQI")
WRITE, FLUSH, NOTE = b"W", b"F", b"N"

_IN = struct.Struct("<IIQQIII4x")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 1, 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _FORGETS, _FALLOCATE = (
    18, 20, 25, 26, 36, 38, 42, 43,
)  # fmt: skip
_MAX_WRITE = 128 * 1024
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_DIRECT_IO = 1
_ROOT, _DISK, _NOTES = 1, 2, 3
_NAMES = {b"disk.img": _DISK, b"notes": _NOTES}


def read_log(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """(kind, offset, bytes) in the order in which the disk saw them."""
    log, at = path.read_bytes(), 0
    while at < len(log):
        kind, offset, length = RECORD.unpack_from(log, at)
        at += RECORD.size
        yield kind, offset, log[at : at + length]
        at += length


class Disk:
    """Answers the kernel's requests."""

    def __init__(self, image: Path, log: Path) -> None:
        self._bytes = bytearray(image.read_bytes())
        self._log = log.open("wb")

    def serve(self, device: int) -> None:
        """Until the file system is unmounted."""
        while True:
            try:
                request = os.read(device, _MAX_WRITE + 4096)
            except OSError as failed:
                if failed.errno == errno.ENODEV:
                    break
                if failed.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, code, unique, node, *_ = _IN.unpack_from(request)
            if code in (_FORGET, _FORGETS, _INTERRUPT):
                continue
            try:
                answer, error = self._answer(code, node, request[_IN.size :]), 0
            except OSError as refused:
                answer, error = b"", -(refused.errno or errno.EIO)
            os.write(device, _OUT.pack(_OUT.size + len(answer), error, unique) + answer)
        self._log.close()

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == _INIT:
            major, _, readahead, _ = struct.unpack_from("<4I", body)
            head = struct.pack("<4IHHIIHHI", major, 31, readahead, _BIG_WRITES | _MAX_PAGES,
                               16, 12, _MAX_WRITE, 1, _MAX_WRITE // 4096, 0, 0)  # fmt: skip
            return head.ljust(64, b"\0")
        if code == _LOOKUP:
            found = _NAMES.get(body.rstrip(b"\0"))
            if found is None:
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<4QII", found, 0, 3600, 3600, 0, 0) + self._attributes(found)
        if code in (_GETATTR, _SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if code == _OPEN:
            return struct.pack("<QII", node, _DIRECT_IO if node == _NOTES else 0, 0)
        if code == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self._bytes[offset : offset + size]) if node == _DISK else b""
        if code == _WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self._write(node, offset, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if code == _FSYNC:
            self._record(FLUSH, 0, b"")
            return b""
        if code == _FALLOCATE:  # the loop device makes a discard of it
            _, offset, size = struct.unpack_from("<QQQ", body)
            self._write(_DISK, offset, bytes(size))
            return b""
        if code == _STATFS:
            blocks = len(self._bytes) // 4096
            return struct.pack("<5Q4I", blocks, 0, 0, 3, 0, 4096, 255, 4096, 0).ljust(80, b"\0")
        if code in (_RELEASE, _FLUSH, _DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not of this disk")

    def _write(self, node: int, offset: int, content: bytes) -> None:
        if node == _DISK:
            self._bytes[offset : offset + len(content)] = content
        self._record(WRITE if node == _DISK else NOTE, offset, content)

    def _record(self, kind: bytes, offset: int, content: bytes) -> None:
        self._log.write(RECORD.pack(kind, offset, len(content)) + content)

    def _attributes(self, node: int) -> bytes:
        size = len(self._bytes) if node == _DISK else 0
        mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o600
        return _ATTR.pack(node, size, size // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)


def main(folder: str, image: str, log: str) -> None:
    """Mount and serve."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"recorder", folder.encode(), b"fuse", 6, options) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount")
    Disk(Path(image), Path(log)).serve(device)


if __name__ == "__main__":
    main(*sys.argv[1:4])
