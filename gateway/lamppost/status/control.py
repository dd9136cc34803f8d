"""The daemon's unix socket: JSON lines. A question is one line in, one line out; a conversation keeps the line open.

Who may open the socket may read everything the daemon says and borrow a bus; no port is opened by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lamppost.errors import HubError, LamppostError, StoreError

MAX_REQUEST = 4096
Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Conversation:
    """One client that stays: JSON lines both ways until it hangs up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def hear(self) -> dict[str, Any] | None:
        """The next request, or None once the client is gone. A line that is no object is an empty request."""
        try:
            line = await self._reader.readline()
        except (OSError, ValueError):  # gone, or an endless line
            return None
        if not line:
            return None
        with contextlib.suppress(ValueError):
            found = orjson.loads(line)
            if isinstance(found, dict):
                return found
        return {}

    async def say(self, answer: Mapping[str, Any]) -> None:
        """Answer. Whoever is gone is noticed at the next `hear`."""
        with contextlib.suppress(OSError):
            self._writer.write(orjson.dumps(answer, default=str) + b"\n")
            await self._writer.drain()


Talk = Callable[[Mapping[str, Any], Conversation], Awaitable[None]]


class Control:
    """Serves `answers` and `talks` (by the request's `do`) on a unix socket that only owner and group may open."""

    def __init__(
        self, path: Path, answers: Mapping[str, Answer], talks: Mapping[str, Talk] | None = None
    ) -> None:
        self._path = path
        self._answers = answers
        self._talks = dict(talks or {})

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreError `control.no-socket` when the socket cannot be made."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_REQUEST)
            self._path.chmod(0o660)
        except OSError as failed:
            raise StoreError(
                f"{self._path}: {failed.strerror}",
                code="control.no-socket",
                hint="give a folder that this user may write, with --socket",
            ) from failed
        try:
            async with server:
                await server.serve_forever()
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                line = await reader.readline()
            request, talk = self._talk(line)
            if talk is not None:
                await talk(request, Conversation(reader, writer))
            else:
                writer.write(orjson.dumps(self._answer(line), default=str) + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # whoever asked is gone, or sent an endless line
        finally:
            writer.close()

    def _talk(self, line: bytes) -> tuple[dict[str, Any], Talk | None]:
        with contextlib.suppress(ValueError):
            request = orjson.loads(line)
            if isinstance(request, dict) and isinstance(do := request.get("do"), str):
                return request, self._talks.get(do)
        return {}, None

    def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = orjson.loads(line)
            answer = self._answers[request["do"]]
        except (ValueError, KeyError, TypeError):
            known = sorted([*self._answers, *self._talks])
            return {"error": "control.unknown-request", "known": known}
        try:
            return answer(request)
        except LamppostError as refused:
            return {"error": refused.code, "message": str(refused), "hint": refused.hint}


def ask(path: Path, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    """Ask the running daemon, blocking. Raises HubError `daemon.not-running` or `daemon.no-answer`, and StoreError
    `daemon.no-permission`."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        try:
            line.connect(str(path))
            line.sendall(orjson.dumps(request) + b"\n")
            answer = b"".join(iter(lambda: line.recv(65536), b""))
            found: dict[str, Any] = orjson.loads(answer)
        except OSError as why:
            raise no_daemon(path, why) from None
        except ValueError:
            raise no_daemon(path, TimeoutError()) from None
    return found


def no_daemon(path: Path, why: OSError) -> LamppostError:
    """Why nobody answers at a socket: not running, no permission, or no answer."""
    if isinstance(why, FileNotFoundError | ConnectionRefusedError):
        return HubError(
            f"no daemon answers at {path}",
            code="daemon.not-running",
            hint="start it with: systemctl start lamppost  (or name its socket with --socket)",
        )
    if isinstance(why, PermissionError):
        return StoreError(
            f"{path} may not be opened by this user",
            code="daemon.no-permission",
            hint="join its group: sudo usermod -aG lamppost $USER, then log in again",
        )
    return HubError(
        f"the daemon at {path} does not answer",
        code="daemon.no-answer",
        hint="it may hang; look at: journalctl -u lamppost -n 50",
        retry=True,
    )
