"""The simulator's end of the preload shim: packets on a unix socket, one answer each, maybe with a descriptor."""

from __future__ import annotations

import array
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("=IIII")
ASK_I2C, ASK_GPIO, ASK_RELEASE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of the shim. `code`: ioctl number or count of messages; `lines`: number of a line request."""

    kind: int
    code: int
    lines: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: status (negative: an errno), payload, and a socket whose descriptor goes along and is closed here."""

    status: int
    body: bytes = b""
    passed: socket.socket | None = None


class PacketServer:
    """Listens at `path` and answers each packet with `answer(ask, connection)`; `gone(connection)` when one ends."""

    def __init__(
        self,
        path: Path,
        answer: Callable[[Ask, int], Told],
        gone: Callable[[int], None] = lambda connection: None,
    ) -> None:
        self.path = path
        self._answer = answer
        self._gone = gone
        self._open: dict[int, socket.socket] = {}
        self._count = 0
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads = [
            threading.Thread(target=self._accept, name=f"sim {path.name}", daemon=True)
        ]
        self._threads[0].start()

    def close(self) -> None:
        """Stop listening and drop every client: the device node is gone."""
        self.path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for connection in self._open.values():
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._count += 1
                self._open[self._count] = connection
                thread = threading.Thread(
                    target=self._serve, args=(self._count, connection), daemon=True
                )
                self._threads.append(thread)
            thread.start()

    def _serve(self, number: int, connection: socket.socket) -> None:
        with connection:
            while packet := self._receive(connection):
                kind, code, lines, size = _HEADER.unpack_from(packet)
                body = packet[_HEADER.size : _HEADER.size + size]
                if not _send(connection, self._answer(Ask(kind, code, lines, body), number)):
                    break
            with self._lock:
                del self._open[number]
            self._gone(number)

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        try:
            return connection.recv(70_000)
        except OSError:
            return b""


def _send(connection: socket.socket, told: Told) -> bool:
    packet = struct.pack("=i", told.status) + told.body
    try:
        if told.passed is None:
            connection.send(packet)
        else:
            with told.passed:
                rights = array.array("i", [told.passed.fileno()])
                connection.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError:
        return False
    return True
