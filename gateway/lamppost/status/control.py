"""The daemon's unix socket: one JSON line in, one JSON line out. Reading only; no port is opened by it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lamppost.errors import HubError, LamppostError, StoreError

MAX_REQUEST = 4096
Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Control:
    """Serves `answers` (by the request's `do`) on a unix socket that only owner and group may open."""

    def __init__(self, path: Path, answers: Mapping[str, Answer]) -> None:
        self._path = path
        self._answers = answers

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
            writer.write(orjson.dumps(self._answer(line), default=str) + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # whoever asked is gone, or sent an endless line
        finally:
            writer.close()

    def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = orjson.loads(line)
            answer = self._answers[request["do"]]
        except (ValueError, KeyError, TypeError):
            return {"error": "control.unknown-request", "known": sorted(self._answers)}
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
        except (FileNotFoundError, ConnectionRefusedError):
            raise HubError(
                f"no daemon answers at {path}",
                code="daemon.not-running",
                hint="start it with: systemctl start lamppost  (or name its socket with --socket)",
            ) from None
        except PermissionError:
            raise StoreError(
                f"{path} may not be opened by this user",
                code="daemon.no-permission",
                hint="join its group: sudo usermod -aG lamppost $USER, then log in again",
            ) from None
        except (TimeoutError, OSError, ValueError):
            raise HubError(
                f"the daemon at {path} does not answer",
                code="daemon.no-answer",
                hint="it may hang; look at: journalctl -u lamppost -n 50",
                retry=True,
            ) from None
    return found
