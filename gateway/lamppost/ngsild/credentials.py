"""OAuth 2.0 client credentials (RFC 6749 §4.4) for brokers behind a proxy that asks for a bearer token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import httpx

from lamppost.errors import HubError

_EARLY = 30.0  # seconds before its end a token is renewed


class ClientCredentials(httpx.Auth):
    """Fetches a token, keeps it until shortly before its end, and fetches a new one after a 401.

    `monotonic` gives seconds (a Clock's). The token endpoint is asked with HTTP Basic, as RFC 6749 §2.3.1 prefers.
    """

    def __init__(
        self,
        token_url: str,
        client: str,
        secret: str,
        monotonic: Callable[[], float],
        scope: str = "",
    ) -> None:
        self._url = token_url
        self._basic = httpx.BasicAuth(client, secret)
        self._scope = scope
        self._monotonic = monotonic
        self._token = ""
        self._until = 0.0

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token to `request`; raises HubError broker.token where none is given."""
        if not self._token or self._monotonic() >= self._until:
            await self._take((yield self._ask()))
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            await self._take((yield self._ask()))
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _ask(self) -> httpx.Request:
        form = {"grant_type": "client_credentials"}
        if self._scope:
            form["scope"] = self._scope
        request = httpx.Request("POST", self._url, data=form)
        return next(self._basic.auth_flow(request))

    async def _take(self, response: httpx.Response) -> None:
        await response.aread()  # a flow of our own is given the answer before its body is read
        try:
            answer = response.json() if response.is_success else {}
            token, lifetime = answer["access_token"], float(answer.get("expires_in", 300))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HubError(
                f"the token endpoint answered {response.status_code} without a token",
                code="broker.token",
                hint=f"check the client id and secret, and try {self._url} by hand",
                retry=True,
            ) from error
        self._token = str(token)
        self._until = self._monotonic() + max(0.0, lifetime - _EARLY)
