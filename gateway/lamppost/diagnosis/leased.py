"""The daemon's port under a lease, over its socket: what `access.Access` needs. The lease ends with the connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from lamppost.clock import monotonic_ns
from lamppost.config.schema import I2cLink, LinkSettings
from lamppost.diagnosis.wire.frames import crc
from lamppost.diagnosis.wire.i2c import I2c, touched
from lamppost.diagnosis.wire.line import Heard, RawLine
from lamppost.errors import LinkError
from lamppost.links.serial import LineSettings
from lamppost.status.control import no_daemon

_BEAT = 2.0
_ANSWER = 10.0
"""Seconds beyond a request's own time after which the daemon is taken for hung."""
_GAP = 0.04
"""Silence by which the daemon's link ends an answer."""


class Loan:
    """One lease."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self.kind = ""
        self.where = ""

    async def ask(self, wish: dict[str, Any], wait: float = 0.0) -> dict[str, Any]:
        """One wish. Raises LinkError as the daemon says it."""
        async with self._turn:
            try:
                async with asyncio.timeout(wait + _ANSWER):
                    self._writer.write(orjson.dumps(wish) + b"\n")
                    await self._writer.drain()
                    line = await self._reader.readline()
                found: dict[str, Any] = orjson.loads(line)
            except (OSError, TimeoutError, ValueError):
                raise LinkError(
                    "the daemon ended the lease",
                    code="link.lease-over",
                    hint="ask for another one; see: lamppost logs",
                    retry=True,
                ) from None
        if "error" in found:
            raise LinkError(
                str(found.get("message", found["error"])),
                code=str(found["error"]),
                hint=str(found.get("hint", "use a lamppost of the daemon's version")),
                retry=bool(found.get("retry")),
            )
        return found

    async def beat(self) -> None:
        """Say for ever that we are still here; a request under way says so too."""
        while True:
            await asyncio.sleep(_BEAT)
            if not self._turn.locked():
                await self.ask({"do": "beat"})


class Leased:
    """Borrows each link from the daemon at `socket`."""

    via = "daemon"

    def __init__(self, socket: Path, who: str, seconds: float) -> None:
        self._socket = socket
        self._who = f"{who} (process {os.getpid()})"
        self._seconds = seconds

    @asynccontextmanager
    async def raw(self, link: LinkSettings) -> AsyncIterator[RawLine]:
        """See `Access`."""
        async with self._loan(link.name) as loan:
            yield LeasedLine(loan)

    @asynccontextmanager
    async def i2c(self, link: I2cLink) -> AsyncIterator[I2c]:
        """See `Access`."""
        async with self._loan(link.name) as loan:
            yield _LeasedI2c(loan)

    @asynccontextmanager
    async def _loan(self, name: str) -> AsyncIterator[Loan]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError as why:
            raise no_daemon(self._socket, why) from None
        loan = Loan(reader, writer)
        beating: asyncio.Task[None] | None = None
        try:
            wish = {"do": "lease", "link": name, "seconds": self._seconds, "who": self._who}
            lent = await loan.ask(wish, self._seconds)
            loan.kind, loan.where = lent["kind"], lent["where"]
            beating = asyncio.create_task(loan.beat())
            yield loan
        finally:
            if beating is not None:
                beating.cancel()
                with contextlib.suppress(asyncio.CancelledError, LinkError):
                    await beating
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class LeasedLine:
    """A `line.RawLine` that the daemon works for us."""

    def __init__(self, loan: Loan) -> None:
        self._loan = loan
        self._line = LineSettings()

    @property
    def where(self) -> str:
        """See `RawLine`."""
        return self._loan.where

    async def use(self, line: LineSettings) -> None:
        """See `RawLine`."""
        if not self._loan.kind.endswith("-tcp") and line != self._line:
            wish = {
                "do": "tune",
                "baud": line.baud,
                "parity": line.parity,
                "stop_bits": line.stop_bits,
                "data_bits": line.data_bits,
            }
            await self._loan.ask(wish)
        self._line = line

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        """See `RawLine`. When the first byte came is known to a few milliseconds only, and never above `wait`."""
        is_tcp = self._loan.kind == "modbus-tcp"
        send = data[:-2] if is_tcp else data
        if is_tcp and not send:
            return Heard()
        began = monotonic_ns()
        wish = {"do": "exchange", "send": send.hex(), "wait": wait, "count": limit}
        heard = await self._asked(wish, wait)
        took = (monotonic_ns() - began) / 1e9
        if not heard:
            return Heard()
        if self._loan.kind.endswith("-tcp"):
            return Heard(((min(took, wait), heard + crc(heard) if is_tcp else heard),))
        character = self._line.character / 1e9
        first = took - _GAP - (len(data) + len(heard)) * character
        pieces = [(min(max(first, 0.0), wait), heard)]
        if quiet > _GAP and len(heard) < limit:  # a second answer may follow after a longer pause
            more = bytes.fromhex(
                (await self._loan.ask({**wish, "send": "", "wait": quiet}, quiet))["heard"]
            )
            if more:
                pieces.append((took, more))
        return Heard(tuple(pieces))

    async def _asked(self, wish: dict[str, Any], wait: float) -> bytes:
        """What was heard. A connection that the daemon gave up after much silence is made anew, once."""
        try:
            return bytes.fromhex((await self._loan.ask(wish, wait))["heard"])
        except LinkError as error:
            if error.code != "link.lost" or self._loan.kind != "mbus-tcp":
                raise
        return bytes.fromhex((await self._loan.ask(wish, wait))["heard"])

    def counters(self) -> None:
        """Nobody counts here."""

    async def close(self) -> None:
        """The connection's end gives the line back."""


class _LeasedI2c:
    def __init__(self, loan: Loan) -> None:
        self._loan = loan

    async def touch(self, address: int) -> str:
        """See `wire.i2c.I2c`."""
        return await touched(self._exchange, address)

    async def _exchange(self, request: bytes, seconds: float, count: int) -> bytes:
        wish = {"do": "exchange", "send": request.hex(), "wait": seconds, "count": count}
        return bytes.fromhex((await self._loan.ask(wish, seconds))["heard"])
