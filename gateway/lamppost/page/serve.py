"""Serves the page for a while and then no more: by time, by `lamppost page close`, by too many guesses, by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator

import uvicorn

from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.page.app import Door

BUSY = 16
"""Connections at a time; more are refused."""
_LOOK = 0.25
_BELL = "\0lamppost-page-{}"


class Server:
    """One page on one socket."""

    def __init__(self, app: Callable[..., object], host: str, port: int) -> None:
        """Raises LinkError `page.no-socket`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(BUSY)
        except OSError as error:
            self._socket.close()
            raise LinkError(
                f"{host} port {port}: {error.strerror}",
                code="page.no-socket",
                hint="name another port with --port, or another interface with --on",
            ) from None
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=BUSY,
            backlog=BUSY,
            timeout_keep_alive=5,
            h11_max_incomplete_event_size=4096,
        )
        self._server = uvicorn.Server(config)

    async def run(self, until: float, clock: Clock, door: Door) -> str:
        """Serve until `until` (monotonic seconds); why it ended."""
        serving = asyncio.create_task(self._server._serve(sockets=[self._socket]))
        why = "time is up"
        with _bell() as bell:
            try:
                while not serving.done() and clock.monotonic() < until:
                    if _rung(bell):
                        why = "closed by hand"
                        break
                    if door.is_shut:
                        why = "somebody guessed at the token"
                        break
                    await clock.sleep_until(min(until, clock.monotonic() + _LOOK))
            finally:
                self._server.should_exit = self._server.force_exit = True
                await asyncio.gather(serving, return_exceptions=True)
                self._socket.close()
        return why


@contextlib.contextmanager
def _bell() -> Iterator[socket.socket]:
    """A socket by which `close` of the same user reaches us; its name needs no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        bell.setblocking(False)
        try:
            bell.bind(_BELL.format(os.getuid()))
        except OSError:
            raise LinkError(
                "a page is open already",
                code="page.open-already",
                hint="lamppost page close",
            ) from None
        yield bell


def _rung(bell: socket.socket) -> bool:
    try:
        _, ancillary, _, _ = bell.recvmsg(16, socket.CMSG_SPACE(struct.calcsize("3i")))
    except BlockingIOError:
        return False
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            _, user, _ = struct.unpack("3i", data[: struct.calcsize("3i")])
            return user in (0, os.getuid())
    return False


def ring(user: int) -> bool:
    """Close the page of a user; whether there was one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        try:
            line.sendto(b"close", _BELL.format(user))
        except OSError:
            return False
    return True
