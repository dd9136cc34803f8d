"""Requests to an NGSI-LD broker and what their answers mean (ETSI GS CIM 009 §6). The only file that speaks HTTP."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from lamppost.errors import HubError

logging.getLogger("httpx").setLevel(
    logging.WARNING
)  # it tells each request to the journal of a small card

ROOT = "/ngsi-ld/v1"
ATTEMPTS = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SOCKET = frozenset({"getpeername", "getsockname", "family", "fileno"})
_WAIT = frozenset({429, 503})  # nothing was done: ask again later
_UNSURE = frozenset({408, 500, 502, 504})  # something may have been done


class Unsure(Exception):
    """The request may or may not have been carried out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its decoded JSON body (None where there was none)."""

    status: int
    body: Any

    def problem(self) -> dict[str, Any]:
        """The problem details (RFC 9457), or as much as there is."""
        return self.body if isinstance(self.body, dict) else {"detail": str(self.body or "")}


class Api:
    """One broker and tenant, over an httpx client that brings base URL, TLS and authentication."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        tenant: str = "",
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float] = random.random,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._client = client
        self.tenant = tenant
        self._headers = {"NGSILD-Tenant": tenant} if tenant else {}
        self._sleep = sleep
        self._jitter = jitter
        self.attempts = attempts
        self.requests = 0
        self.sent_bytes = 0

    async def post(self, path: str, content: Any, **parameters: str) -> Answer:
        """POST JSON without a context. Raises Unsure, or HubError `broker.…`; other statuses are returned."""
        return await self._ask("POST", path, content, parameters)

    async def get(self, path: str, **parameters: str) -> Answer:
        """GET as normalized JSON; raises like `post`."""
        return await self._ask("GET", path, None, parameters)

    async def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait before attempt number `attempt` (from 1): doubling, with up to half of it as jitter."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
        await self._sleep(max(at_least, pause * (1 + self._jitter() / 2)))

    async def _ask(
        self, method: str, path: str, content: Any, parameters: Mapping[str, str]
    ) -> Answer:
        for attempt in range(1, self.attempts + 1):
            try:
                response = await self._once(method, path, content, parameters)
            except _NOT_SENT as error:
                failure = _unreachable(error)
                wait = 0.0
            else:
                if response.status_code not in _WAIT:
                    return _judged(response)
                failure = _busy(response)
                wait = _retry_after(response)
            if attempt < self.attempts:
                await self.pause(attempt, wait)
        raise failure

    async def _once(
        self, method: str, path: str, content: Any, parameters: Mapping[str, str]
    ) -> httpx.Response:
        headers = {"Accept": "application/json", **self._headers}
        body = None
        if content is not None:
            body = orjson.dumps(content)
            headers["Content-Type"] = "application/json"
            self.sent_bytes += len(body)
        self.requests += 1
        try:
            return await self._client.request(
                method, ROOT + path, params=dict(parameters), content=body, headers=headers
            )
        except _NOT_SENT:
            raise
        except httpx.TransportError as error:
            raise Unsure(f"no answer: {type(error).__name__}") from error
        except AttributeError as error:
            # httpx over anyio and uvloop, where the peer has reset a connection that was just made: it asks a socket
            # that is gone for its names.
            if error.obj is not None or error.name not in _SOCKET:
                raise
            raise Unsure("no answer: the connection was reset at once") from error


def _judged(response: httpx.Response) -> Answer:
    status = response.status_code
    if status in _UNSURE:
        raise Unsure(f"the broker answered {status}")
    if status in (401, 403):
        raise HubError(
            f"the broker refuses us: {status}",
            code="broker.unauthorised",
            hint="check the client id, secret or certificate, and the rights of its role",
            retry=True,
        )
    if (status >= 500 and status != 501) or 300 <= status < 400:
        raise HubError(
            f"the broker answered {status}",
            code="broker.failing",
            hint="see the broker's log; check that the URL is the broker's own",
            retry=True,
        )
    try:
        return Answer(status, orjson.loads(response.content) if response.content else None)
    except orjson.JSONDecodeError:
        return Answer(status, response.text[:500])


def _unreachable(error: httpx.TransportError) -> HubError:
    return HubError(
        f"the broker cannot be reached: {error}",
        code="broker.unreachable",
        hint="check the URL, the name, the port and the certificate",
        retry=True,
    )


def _busy(response: httpx.Response) -> HubError:
    return HubError(
        f"the broker asks us to wait: {response.status_code}",
        code="broker.busy",
        hint='look at its load; a 503 on /temporal/ alone means that its history is off (history = "latest")',
        retry=True,
    )


def _retry_after(response: httpx.Response) -> float:
    """The seconds of Retry-After, at most a minute; a date counts as none."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(response.headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0
