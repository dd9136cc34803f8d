"""A TLS 1.3 socket to the broker: our own context, our own socket options, every failure with a name.

Blocking on purpose: it reads certificate files and connects; callers run `dial` in a thread.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamppost.errors import LamppostError
from lamppost.uplink.faults import fault

MAX_INCOMING = 256 * 1024  # bytes of one message from the broker; a receipt has under 2 kB

# X509_V_ERR_* of OpenSSL
_NOT_YET_VALID = 9
_EXPIRED = 10
_NAME_MISMATCH = frozenset({62, 64})

_OLD_TLS = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The client's certificate chain and key, and the only CA that may sign the server (PEM)."""

    certificate: Path
    key: Path
    server_ca: Path


class RevealingSocket(ssl.SSLSocket):
    """Remembers why it failed, which the MQTT client forgets, and bounds what one read may ask for.

    With TLS 1.3 a refused client certificate shows up after the handshake, as an alert on the first read.
    """

    fault: OSError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As `ssl.SSLSocket.recv`; the client asks for a whole message at once, so its size is `buflen`."""
        if buflen > MAX_INCOMING:
            self.fault = ConnectionAbortedError(f"a message of {buflen} bytes from the broker")
            raise self.fault
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.fault = error
            raise

    def send(self, data: Any, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`; on failure an alert that waits to be read explains more than EPIPE."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.fault = error
            with contextlib.suppress(ssl.SSLWantReadError, ConnectionError):
                self.recv(1)
            raise

    def presented_issuer(self) -> str:
        """Issuer of the certificate that the server presented, unverified, for the error message only."""
        try:  # public as SSLSocket.get_unverified_chain from Python 3.13 on, under another return type
            chain = self._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
            issuer = chain[0].get_info()["issuer"]
        except (AttributeError, LookupError, TypeError, ValueError):
            return "unknown"
        return ", ".join(f"{key}={value}" for part in issuer for key, value in part)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 only, the server pinned to one CA, its name checked, our certificate shown.

    Made anew for each connection, so that a renewed certificate is used from the next one on.
    Raises TrustError `uplink.certificate-files`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= (
        ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    )  # the pin may be an issuing CA
    context.sslsocket_class = RevealingSocket
    for purpose, path in (
        ("server CA", files.server_ca),
        ("client certificate", files.certificate),
        ("client key", files.key),
    ):
        try:
            path.read_bytes()  # OpenSSL's own message does not name the file
        except OSError as error:
            raise fault("uplink.certificate-files", f"{purpose} {path}: {error.strerror}") from None
    try:
        context.load_verify_locations(cafile=files.server_ca)
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        names = f"{files.server_ca}, {files.certificate}, {files.key}"
        raise fault("uplink.certificate-files", f"not usable together ({error}): {names}") from None
    return context


def dial(
    host: str, port: int, files: TlsFiles, timeout: float, user_timeout: float
) -> ssl.SSLSocket:
    """Connect, shake hands, return a socket; both times in seconds, for each step.

    `user_timeout` is how long sent bytes may stay unacknowledged before the kernel gives the connection up
    (TCP_USER_TIMEOUT, RFC 5482). Raises HubError or TrustError.
    """
    context = client_context(files)
    try:
        bare = socket.create_connection((host, port), timeout)
    except OSError as error:
        raise fault(
            "uplink.unreachable", f"{host} port {port}: {error.strerror or error}"
        ) from None
    try:
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout * 1000))
        wrapped = context.wrap_socket(bare, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        bare.close()
        raise fault("uplink.unreachable", f"{host} port {port}: {error}") from None
    try:
        wrapped.settimeout(timeout)
        wrapped.do_handshake()
    except (
        OSError,
        ValueError,
    ) as error:  # ssl errors are OSErrors; CertificateError is a ValueError
        explained = explain(error, host, port, _issuer(wrapped))
        wrapped.close()
        raise explained from None
    wrapped.setblocking(False)
    return wrapped


def explain(error: BaseException, host: str, port: int, issuer: str = "unknown") -> LamppostError:
    """The named failure behind an exception of the TLS or TCP layer."""
    where = f"{host} port {port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _wrong_server(error, where, issuer)
    reason = getattr(error, "reason", None)
    if isinstance(error, ssl.SSLError) and isinstance(reason, str):
        if any(mark in reason for mark in _OLD_TLS):
            return fault("uplink.tls-version", f"{where} does not speak TLS 1.3 ({reason})")
        if any(mark in reason for mark in _NOT_TLS):
            return fault("uplink.unreachable", f"{where} does not speak TLS ({reason})")
        if "ALERT" in reason:
            return fault(
                "uplink.refused-certificate", f"{where} refused this gateway: {_alert(reason)}"
            )
    return fault(
        "uplink.unreachable", f"{where}: {getattr(error, 'strerror', None) or error or 'timed out'}"
    )


def _wrong_server(error: ssl.SSLCertVerificationError, where: str, issuer: str) -> LamppostError:
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return fault("uplink.clock", f"{where}: {error.verify_message}")
    if error.verify_code in _NAME_MISMATCH:
        return fault("uplink.wrong-server", f"{where}: {error.verify_message} (issuer {issuer})")
    text = f"{where} shows a certificate of another CA, issuer {issuer} ({error.verify_message})"
    return fault("uplink.wrong-server", text)


def _alert(reason: str) -> str:
    """SSLV3_ALERT_CERTIFICATE_EXPIRED → "certificate expired"."""
    return reason.partition("ALERT_")[2].replace("_", " ").lower()


def _issuer(sock: ssl.SSLSocket) -> str:
    return sock.presented_issuer() if isinstance(sock, RevealingSocket) else "unknown"


def _no_password() -> str:
    """An encrypted key is an error, not a prompt on the daemon's terminal."""
    return ""
