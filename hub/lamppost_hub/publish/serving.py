"""The repository over HTTPS, to enrolled gateways: all metadata, and of the sites each its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from lamppost.errors import LamppostError
from lamppost_hub.ca import serial_of
from lamppost_hub.database import Database
from lamppost_hub.registry import ACTIVE, Registry
from lamppost_hub.thread import DatabaseThread

_METADATA = re.compile(r"metadata/(?:[0-9]{1,9}\.)?[a-z0-9][a-z0-9_-]{0,62}\.json")
_TARGET = re.compile(r"targets/[a-z0-9_-]{1,63}/([a-z0-9_-]{1,63})/[0-9a-f]{64}\.site\.toml")


class Serving:
    """An ASGI application; every answer is a file of `folder`, or a refusal without a word."""

    def __init__(self, folder: Path, database: Database, thread: DatabaseThread) -> None:
        self._folder = folder
        self._registry = Registry(database)
        self._thread = thread
        self.routes = [Route("/{path:path}", self._answer, methods=["GET"])]
        self.app: Any = Starlette(routes=self.routes)

    def after(self, routes: Sequence[BaseRoute]) -> Any:
        """One application that answers other routes first."""
        return Starlette(routes=[*routes, *self.routes])

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"]
        try:
            gateway = await self._caller(request)
        except LamppostError:
            return PlainTextResponse("", 503)
        if gateway is None:
            return PlainTextResponse("", 403)
        target = _TARGET.fullmatch(path)
        if not _METADATA.fullmatch(path) and not target:
            return PlainTextResponse("", 404)
        if target and target[1] != gateway:
            return PlainTextResponse("", 403)
        file = self._folder / path
        if not await asyncio.to_thread(file.is_file):
            return PlainTextResponse("", 404)
        return FileResponse(file, media_type="application/octet-stream")

    async def _caller(self, request: Request) -> str | None:
        """The active gateway whose certificate was shown."""
        peer = getattr(request.state, "peer", None)
        return None if peer is None else await self._thread.call(self._active, serial_of(peer))

    def _active(self, serial: str) -> str | None:
        gateway = self._registry.holder_of(serial)
        if gateway is None or self._registry.state_of(gateway) != ACTIVE:
            return None
        return gateway
