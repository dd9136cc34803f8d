"""Enrolment over secure transport (EST, RFC 7030): /cacerts, /simpleenroll, /simplereenroll.

HTTP only: what is decided is in `registration.py`. Beside RFC 7030's PKCS#10 and PKCS#7 a gateway posts its whole
enrolment request, signed by the envelope key, and gets the hub's bundle. Refusals are problem details (RFC 9457).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lamppost.envelope.enrolment import MAX_REQUEST, read_request
from lamppost.errors import LamppostError, TrustError
from lamppost_hub.attempts import Attempts
from lamppost_hub.ca import certificates_only, request_pem, serial_of
from lamppost_hub.clock import Clock
from lamppost_hub.registration import Proof, Registration
from lamppost_hub.thread import DatabaseThread

log = logging.getLogger("lamppost_hub.est")

PREFIX = "/.well-known/est"
PKCS10, PKCS7 = "application/pkcs10", "application/pkcs7-mime; smime-type=certs-only"
REQUEST, BUNDLE = "application/vnd.lamppost.enrolment+json", "application/vnd.lamppost.bundle+json"
BODY_WITHIN = 10.0  # seconds for a body of at most MAX_REQUEST bytes

STATUS = {
    "enrolment.token": 401,
    "enrolment.certificate": 401,
    "registry.claimed": 401,
    "enrolment.too-big": 413,
    "enrolment.media-type": 415,
    "enrolment.rate": 429,
    "hub.store": 503,
}
STATUS_BY_AREA = {"enrolment": 400, "ca": 400, "registry": 403}


class EstServer:
    """The three operations as an ASGI application; `thread` is where registration may block."""

    def __init__(self, registration: Registration, thread: DatabaseThread, clock: Clock) -> None:
        self._registration = registration
        self._thread = thread
        # A token has 192 bits; this keeps a guesser's noise out of the log and off the disk.
        self._by_address = Attempts(clock, allowed=10, seconds=600.0)
        self._by_gateway = Attempts(clock, allowed=50, seconds=3600.0)
        self.app = Starlette(
            routes=[
                Route(f"{PREFIX}/cacerts", self._answered(self._authorities), methods=["GET"]),
                Route(f"{PREFIX}/simpleenroll", self._answered(self._enrol), methods=["POST"]),
                Route(f"{PREFIX}/simplereenroll", self._answered(self._renew), methods=["POST"]),
            ]
        )

    def _answered(self, operation: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                response: Response = await operation(request)
                return response
            except LamppostError as error:
                return self._refused(request, error)

        return answer

    async def _authorities(self, request: Request) -> Response:
        found = await self._thread.call(self._registration.authorities)
        return _pkcs7(*found)

    async def _enrol(self, request: Request) -> Response:
        user, token = _basic(request)
        self._may_try(request, user)
        return await self._issue(request, Proof(user=user, token=token))

    async def _renew(self, request: Request) -> Response:
        peer = request.state.peer if hasattr(request.state, "peer") else None
        if peer is None:
            raise TrustError(
                "a renewal shows the running certificate",
                code="enrolment.certificate",
                hint="it has expired, or none was shown: enrol again, the envelope key vouches",
            )
        return await self._issue(request, Proof(serial=serial_of(peer)))

    async def _issue(self, request: Request, proof: Proof) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (PKCS10, REQUEST):
            raise TrustError(
                f"a body of type {kind or 'none'}",
                code="enrolment.media-type",
                hint=f"send {REQUEST} or {PKCS10}",
            )
        body = await _body(request)
        if kind == REQUEST:
            asked = read_request(body)
            bundle = await self._thread.call(self._registration.enrol, asked, proof)
            log.info("%s is enrolled", asked.gateway)
            return Response(bundle, media_type=BUNDLE)
        csr = request_pem(_unbase64(body))
        issued = await self._thread.call(self._registration.certify, csr, proof)
        log.info("%s has a new certificate", issued.subject)
        return _pkcs7(issued.pem)

    def _may_try(self, request: Request, user: str) -> None:
        wait = max(self._by_address.wait(_address(request)), self._by_gateway.wait(user))
        if wait:
            raise TrustError(
                "too many wrong tokens",
                code="enrolment.rate",
                hint=f"try again in {wait:.0f} s",
            )

    def _refused(self, request: Request, error: LamppostError) -> Response:
        area = error.code.partition(".")[0]
        status = STATUS.get(error.code) or STATUS_BY_AREA.get(area, 500)
        headers = {}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="lamppost enrolment"'
            self._by_address.failed(_address(request))
            self._by_gateway.failed(_basic(request)[0])
        if status in (429, 503):
            headers["Retry-After"] = "60"
        log.warning("refused %s: %s (%s)", _address(request), error, error.code)
        content = {
            "title": str(error),
            "status": status,
            "code": error.code,
            "hint": error.hint,
        }
        return JSONResponse(content, status, headers, media_type="application/problem+json")


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                body += part
                if len(body) > MAX_REQUEST:
                    raise TrustError(
                        f"a request of more than {MAX_REQUEST} bytes",
                        code="enrolment.too-big",
                        hint="send one enrolment request",
                    )
    except (TimeoutError, ClientDisconnect):
        raise TrustError(
            "the request did not come whole", code="enrolment.malformed", hint="send it again"
        ) from None
    return bytes(body)


def _basic(request: Request) -> tuple[str, str]:
    """User and token of HTTP Basic (RFC 7617), empty where there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user[:64], token[:128]


def _unbase64(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise TrustError(
            "the body is not base64", code="ca.request", hint="RFC 7030: PKCS#10, DER, base64"
        ) from None


def _pkcs7(*pems: bytes) -> Response:
    body = base64.encodebytes(certificates_only(*pems))
    return Response(body, headers={"Content-Transfer-Encoding": "base64"}, media_type=PKCS7)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
