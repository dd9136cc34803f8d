"""The page as an ASGI application: three addresses, GET only, our Host only, a token where others may come."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamppost.errors import LamppostError
from lamppost.page import html
from lamppost.page.metrics import metrics

LONGEST_TARGET = 512
GUESSES = 10
"""Wrong tokens after which the page closes: whoever has the right one needs one."""
COOKIE = "lamppost"
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{html.STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}

Status = Callable[[], Mapping[str, Any]]


@dataclass(slots=True)
class Door:
    """Who may come in: by Host, and where `token` is set, by it once and by a cookie from then on."""

    hosts: frozenset[str]
    token: str = ""
    wrong: int = 0
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    is_used: bool = False

    @classmethod
    def with_token(cls, hosts: frozenset[str]) -> Door:
        """One for an interface that others share: 128 bits, good for one visit."""
        return cls(hosts, secrets.token_urlsafe(16))

    @property
    def is_shut(self) -> bool:
        """Whether somebody guessed too often."""
        return self.wrong >= GUESSES

    def takes(self, given: str) -> bool:
        """Whether this is the token; it is good once."""
        right = hmac.compare_digest(given.encode(), self.token.encode()) and not self.is_used
        if right:
            self.is_used = True
        else:
            self.wrong += 1
        return right

    def knows(self, cookie: str) -> bool:
        """Whether this visitor came in by the token."""
        return not self.token or hmac.compare_digest(cookie.encode(), self.cookie.encode())


class Guard:
    """In front of the application: refuses what no reader of this page sends, and marks every answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refused(Request(scope))
        await (refusal or self._app)(scope, receive, marked)

    def _refused(self, request: Request) -> Response | None:
        door = self._door
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("reading only\n", 405, {"Allow": "GET, HEAD"})
        if len(request.url.path) + len(request.url.query) > LONGEST_TARGET:
            return PlainTextResponse("too long\n", 414)
        if _host(request.headers.get("host", "")) not in door.hosts:
            return PlainTextResponse("not this host\n", 421)
        if door.is_shut:
            return PlainTextResponse("closed\n", 403)
        if door.knows(request.cookies.get(COOKIE, "")):
            return None
        given = request.query_params.get("t", "")
        if not given:
            return PlainTextResponse("open the whole address, with its token\n", 403)
        if not door.takes(given):
            return PlainTextResponse("closed\n", 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, door.cookie, httponly=True, samesite="strict", path="/")
        return answer


def _host(given: str) -> str:
    """A Host header without its port."""
    if given.startswith("["):
        return given.partition("]")[0][1:].lower()
    return given.partition(":")[0].lower()


def application(
    status: Status, door: Door, units: html.Units, minutes_left: Callable[[], float]
) -> ASGIApp:
    """The page. `status` blocks a little: it asks the daemon's socket."""

    def index(request: Request) -> Response:
        del request
        try:
            return HTMLResponse(html.page(status(), units, minutes_left()))
        except LamppostError as error:
            text = html.no_daemon(f"{error.code}: {error}", error.hint, minutes_left())
            return HTMLResponse(text, 503)

    def as_json(request: Request) -> Response:
        del request
        try:
            return JSONResponse(dict(status()))
        except LamppostError as error:
            return JSONResponse({"error": error.code, "hint": error.hint}, 503)

    def as_metrics(request: Request) -> Response:
        del request
        try:
            text = metrics(status())
        except LamppostError:
            text, code = "lamppost_up_seconds 0\n", 503
        else:
            code = 200
        return PlainTextResponse(text, code, media_type="text/plain; version=0.0.4")

    routes = [Route("/", index), Route("/status.json", as_json), Route("/metrics", as_metrics)]
    return Guard(Starlette(routes=routes), door)
