"""The way to the hub's enrolment server (EST, RFC 7030): the first certificate, and every next one.

Blocking, on the standard library's HTTPS: it runs in a thread of the daemon four times a year, and in `lamppost enrol`.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lamppost.envelope.pin import pinned
from lamppost.errors import LamppostError, TrustError
from lamppost.uplink.tls import RevealingSocket, explain

PREFIX = "/.well-known/est"
REQUEST = "application/vnd.lamppost.enrolment+json"
TIMEOUT = 20.0  # seconds, for each step
MAX_ANSWER = 1 << 18

_CODE = re.compile(r"(enrolment|registry|ca|hub)\.[a-z0-9-]{1,40}")


def server_ca(url: str, pin: str) -> str:
    """The CA (PEM) that signs the hub's servers, known by its pin before anything of the hub is trusted.

    Raises TrustError `trust.pin`, `trust.hub-url`, HubError `uplink.unreachable`.
    """
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.minimum_version = ssl.TLSVersion.TLSv1_3
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE  # the pin decides below
    answer = _ask(url, anybody, "GET", "/cacerts")
    try:
        return pinned(base64.b64decode(answer), pin)
    except binascii.Error:
        return pinned(b"", pin)


def enrol(url: str, ca: str, request: bytes, *, gateway: str = "", token: str = "") -> bytes:
    """The hub's bundle for an enrolment request: with a token the first time, afterwards the envelope key vouches.

    Raises TrustError `enrolment.*`, `registry.*`, `uplink.wrong-server` …, HubError `uplink.unreachable`.
    """
    headers = {"Content-Type": REQUEST}
    if token:
        credentials = base64.b64encode(f"{gateway}:{token}".encode()).decode("ascii")
        headers["Authorization"] = f"Basic {credentials}"
    return _ask(url, _context(ca), "POST", "/simpleenroll", request, headers)


def renew(url: str, ca: str, tls: Path, request: bytes) -> bytes:
    """The bundle for a renewal, asked for with the running key and certificate in `tls`; raises as `enrol`.

    Where the certificate is refused (it has expired) the request's own signature is what vouches. A server may hang up
    on an expired certificate without a word, so that a lost connection leads there too.
    """
    context = _context(ca)
    try:
        context.load_cert_chain(tls)
        return _ask(url, context, "POST", "/simplereenroll", request, {"Content-Type": REQUEST})
    except (ssl.SSLError, OSError):
        return enrol(url, ca, request)
    except LamppostError as refused:
        if refused.code not in (
            "uplink.refused-certificate",
            "uplink.unreachable",
            "enrolment.certificate",
        ):
            raise
        return enrol(url, ca, request)


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=ca)
    context.sslsocket_class = RevealingSocket
    return context


def _ask(
    url: str,
    context: ssl.SSLContext,
    method: str,
    operation: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    host, port, base = _address(url)
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    try:
        connection.request(method, f"{base}{PREFIX}{operation}", body, headers or {})
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        told = getattr(connection.sock, "fault", None)  # an alert explains more than a broken pipe
        raise explain(told or error, host, port) from None
    finally:
        connection.close()
    if response.status == 200 and len(answer) <= MAX_ANSWER:
        return answer
    raise _refusal(url, response.status, answer)


def _address(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "https" or not host or parts.query or parts.fragment or parts.username:
        raise TrustError(
            f"{url!r} is no address of an enrolment server",
            code="trust.hub-url",
            hint="it looks like https://hub.example:8443; lamppost-hub enrol serve prints it",
        )
    return host, port, parts.path.rstrip("/")


def _refusal(url: str, status: int, answer: bytes) -> LamppostError:
    """The server's problem details (RFC 9457) as our error."""
    found: Any = None
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    told = found if isinstance(found, dict) else {}
    code, title, hint = told.get("code"), told.get("title"), told.get("hint")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        code = "trust.enrolment-refused"
    return TrustError(
        f"the hub refused: {title if isinstance(title, str) else f'HTTP {status} from {url}'}",
        code=code,
        hint=hint if isinstance(hint, str) else "look at the enrolment server's log at the hub",
        retry=status in (429, 503),
    )
