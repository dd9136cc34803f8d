"""How a link comes by a TCP connection, and how it learns soon that the other end is gone without a word."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import TypeVar

from lamppost.links import faults

_CONNECT = 3.0
_UNACKNOWLEDGED = 5000
"""Milliseconds after which data that nobody acknowledges ends the connection (TCP_USER_TIMEOUT, RFC 5482)."""

Connection = TypeVar("Connection", bound=asyncio.Protocol)


async def connect(
    connection: Callable[[], Connection], address: tuple[str, int], seconds: float
) -> Connection:
    """A new connection to a host and port, within so many seconds or three. Raises LinkError `link.missing`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(max(_CONNECT, seconds)) as limit:
            transport, made = await loop.create_connection(connection, *address)
    except OSError as error:  # TimeoutError is one, and so is the socket's own ETIMEDOUT
        why = "no connection in time" if limit.expired() else _reason(error)
        raise faults.cannot_connect(f"{address[0]}:{address[1]}", why) from None
    with contextlib.suppress(OSError):  # it may be over already; the connection says so itself
        found = transport.get_extra_info("socket")
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
    return made


def _reason(error: OSError) -> str:
    """The system's own words; asyncio's only repeat the address. Errors of name resolution are below zero."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
