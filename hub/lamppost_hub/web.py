"""HTTPS for the hub's small services: TLS 1.3, the caller's certificate told to the application, slow callers cut.

The only importer of uvicorn in the hub.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lamppost.errors import HubError

HEADERS_WITHIN = 10.0  # seconds from the connection to the end of the first request's headers
CONNECTIONS = 200


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen and with which certificate. A certificate that a caller shows must be of `client_ca`."""

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path | None = None


class _Connection(H11Protocol):
    """Puts the verified certificate of the caller (DER) into `request.state.peer`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As of H11Protocol."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        peer = tls.getpeercert(binary_form=True) if tls is not None else None
        self.app_state = {**self.app_state, "peer": peer}
        self._deadline = self.loop.call_later(HEADERS_WITHIN, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """As of H11Protocol."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def _too_slow(self) -> None:
        if not self._asked:
            self.transport.abort()

    @property
    def _asked(self) -> bool:
        """Whether the headers of a request have come (the base class declares `cycle` narrower than it is)."""
        return bool(self.cycle)


class Server(uvicorn.Server):
    """One ASGI application on one listener; `should_exit` ends it soon. TLS files and port are taken when it is made.

    Raises HubError `hub.listen` for a port that cannot be had, OSError for certificate files that cannot be read.
    """

    def __init__(self, app: Any, listener: Listener, ready: Callable[[int], None]) -> None:
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            ssl_certfile=str(listener.certificate),
            ssl_keyfile=str(listener.key),
            ssl_ca_certs=str(listener.client_ca) if listener.client_ca else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if listener.client_ca else ssl.CERT_NONE,
        )
        config.load()
        assert config.ssl is not None
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        super().__init__(config)
        self._socket = _listening(listener)
        self._say_ready = ready

    async def run_here(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        await self.serve([self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As of uvicorn.Server; says the port when it is served."""
        await super().startup(sockets)
        self._say_ready(self._socket.getsockname()[1])


def _listening(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        return socket.create_server((listener.host, listener.port), family=family, backlog=128)
    except OSError as error:
        raise HubError(
            f"cannot listen on {listener.host} port {listener.port}: {error.strerror}",
            code="hub.listen",
            hint="another program has the port, or the address is not this machine's: --host, --port",
        ) from error
