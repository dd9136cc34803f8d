"""An HTTP client for a context broker: its TLS files, its token, its tenant. Secrets come by name, never by value."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

import httpx

from lamppost import credentials
from lamppost.clock import Clock
from lamppost.errors import SiteError
from lamppost.ngsild.broker import Api, ClientCredentials

TIMEOUT = 30.0
IDLE = 90.0  # seconds that an unused connection is kept: longer than the usual window


class TokenSettings(Protocol):
    """The site's [uplink.token] table."""

    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def client(self) -> str: ...  # noqa: D102
    @property
    def secret(self) -> str: ...  # noqa: D102
    @property
    def scope(self) -> str: ...  # noqa: D102


class BrokerSettings(Protocol):
    """The site's [uplink] table in direct mode; `ca`, `certificate` and `key` are names of credentials, or ""."""

    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def tenant(self) -> str: ...  # noqa: D102
    @property
    def ca(self) -> str: ...  # noqa: D102
    @property
    def certificate(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def token(self) -> TokenSettings | None: ...  # noqa: D102


class Connection:
    """The client and what speaks through it."""

    def __init__(self, client: httpx.AsyncClient, api: Api) -> None:
        self._client = client
        self.api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def connection(settings: BrokerSettings, state: Path, clock: Clock) -> Connection:
    """A client as the site says; nothing is sent yet. The files are read anew each time.

    Raises SiteError `credential.…`.
    """

    async def sleep(seconds: float) -> None:
        await clock.sleep_until(clock.monotonic() + seconds)

    client = httpx.AsyncClient(
        base_url=settings.url,
        verify=_tls(settings, state),
        auth=_auth(settings, state, clock),
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=2, keepalive_expiry=IDLE),
        trust_env=False,
    )
    return Connection(client, Api(client, tenant=settings.tenant, sleep=sleep))


def _tls(settings: BrokerSettings, state: Path) -> ssl.SSLContext:
    ca = credentials.find(settings.ca, state) if settings.ca else None
    certificate = credentials.find(settings.certificate, state) if settings.certificate else None
    key = credentials.find(settings.key, state) if settings.key else None
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(certificate, key, password="")  # never asks a terminal
    except (OSError, ssl.SSLError) as error:
        raise SiteError(
            f"the TLS files of the broker cannot be used: {error}",
            code="credential.unreadable",
            hint="compare ca, certificate and key under [uplink]: PEM, key and certificate of one pair",
            retry=True,
        ) from error
    return context


def _auth(settings: BrokerSettings, state: Path, clock: Clock) -> httpx.Auth | None:
    token = settings.token
    if token is None:
        return None
    secret = credentials.secret(token.secret, state)
    return ClientCredentials(token.url, token.client, secret, clock.monotonic, token.scope)
