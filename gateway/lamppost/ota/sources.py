"""Where a repository is read from: the hub over HTTPS, or a folder such as a USB stick. Trusts nothing it reads.

Every answer is bounded in bytes by who asks (`trust`) and in time here.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from lamppost.clock import monotonic_ns
from lamppost.ota.refusal import unreachable

CHUNK = 16 * 1024
TIMEOUT = 20.0  # seconds for each step on the wire
LONGEST = 300.0  # seconds for one file, however slowly it drips
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL; Python has no name for it
STICK_FOLDER = "lamppost-configuration"


class Absent(Exception):
    """There is no such file; `status` as HTTP says it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Source(Protocol):
    """A repository's files by their paths, such as `metadata/timestamp.json`."""

    @property
    def where(self) -> str:
        """For messages."""
        ...

    @property
    def local(self) -> bool:
        """Whether it was carried here, so that it says nothing of the way to the hub."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """The file piece by piece. Raises Absent, HubError `ota.unreachable`."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """Our certificate and key, and the one CA that may sign the hub's (PEM files)."""

    certificate: Path
    key: Path
    server_ca: Path


class HttpsSource:
    """The hub's repository over TLS 1.3, mutually authenticated.

    With `check_time` False the dates of the server's certificate do not count: a clock that is known to be wrong cannot
    judge them, and what is fetched is judged by its signatures anyway.
    """

    local = False

    def __init__(
        self, url: str, credentials: Credentials | None, *, check_time: bool = True
    ) -> None:
        parts = urlsplit(url)
        self.where = url
        self._base = parts.path.rstrip("/")
        self._host, self._port = parts.hostname or "", parts.port
        self._context = _context(credentials, check_time=check_time) if credentials else None

    def read(self, path: str) -> Iterator[bytes]:
        """One GET, piece by piece; a redirect is not followed."""
        started = monotonic_ns()
        connection = self._connection()
        try:
            with contextlib.closing(connection):
                connection.request("GET", f"{self._base}/{path}", headers={"Host": self._netloc})
                answer = connection.getresponse()
                if answer.status != 200:
                    raise Absent(answer.status)
                while piece := answer.read1(CHUNK):
                    if monotonic_ns() - started > LONGEST * 1e9:
                        raise unreachable(self.where, f"{path} takes longer than {LONGEST:g} s")
                    yield piece
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise unreachable(self.where, _why(error)) from error

    @property
    def _netloc(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port is None else f"{host}:{self._port}"

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT, context=self._context
        )


class FolderSource:
    """A repository's files below a folder: a USB stick, a copy over ssh."""

    local = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def read(self, path: str) -> Iterator[bytes]:
        """One file, piece by piece; links out of the folder are not followed."""
        file = self._folder / path
        try:
            if not file.resolve().is_relative_to(self._folder.resolve()) or not file.is_file():
                raise Absent(404)
            with file.open("rb") as opened:
                while piece := opened.read(CHUNK):
                    yield piece
        except OSError as error:
            raise unreachable(self.where, error.strerror or error) from error


def stick(places: Path) -> FolderSource | None:
    """The first repository on anything mounted below `places` (such as /media), or in it; None where there is none."""
    with contextlib.suppress(OSError):
        for folder in (places, *sorted(places.iterdir())):
            if (folder / STICK_FOLDER / "metadata" / "timestamp.json").is_file():
                return FolderSource(folder / STICK_FOLDER)
    return None


def _context(credentials: Credentials, *, check_time: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if not check_time:
        context.verify_flags |= NO_CHECK_TIME
    try:
        context.load_verify_locations(cafile=credentials.server_ca)
        context.load_cert_chain(credentials.certificate, credentials.key)
    except (OSError, ValueError) as error:
        raise unreachable("certificate files", error) from error
    return context


def _why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    return str(error) or type(error).__name__


__all__ = [
    "STICK_FOLDER",
    "Absent",
    "Credentials",
    "FolderSource",
    "HttpsSource",
    "Source",
    "stick",
]
