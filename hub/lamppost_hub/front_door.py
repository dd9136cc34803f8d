"""What gateways reach of the hub over HTTPS: enrolment and released configuration, behind one server of TLS 1.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from lamppost_hub.clock import Clock
from lamppost_hub.database import Database
from lamppost_hub.est import EstServer
from lamppost_hub.folder import HubFolder
from lamppost_hub.founding import DEVICE_ROOT, open_database
from lamppost_hub.publish.serving import Serving
from lamppost_hub.registration import Registration
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.web import Listener, Server

Application: TypeAlias = Callable[[Database, DatabaseThread], Any]


def configuration(folder: HubFolder) -> Application:
    """The repository of released configuration, for enrolled gateways."""
    return lambda database, thread: _serving(folder, database, thread).app


def enrolment(folder: HubFolder, clock: Clock) -> Application:
    """EST (RFC 7030), with the released configuration beside it."""

    def made(database: Database, thread: DatabaseThread) -> Any:
        est = EstServer(Registration(folder, database, clock), thread, clock)
        return _serving(folder, database, thread).after(est.app.routes)

    return made


@contextmanager
def front_door(
    folder: HubFolder, host: str, port: int, application: Application, ready: Callable[[int], None]
) -> Iterator[Server]:
    """A server that is yet to run, with the hub's certificate; callers' certificates are the gateways'.

    `ready` is told the port. Raises HubError `hub.listen`, StoreError, OSError for certificate files.
    """
    database, thread = open_database(folder), DatabaseThread()
    listener = Listener(
        host,
        port,
        folder.tls / "server.pem",
        folder.tls / "server.key",
        folder.ca / f"{DEVICE_ROOT}.pem",
    )
    try:
        yield Server(application(database, thread), listener, ready)
    finally:
        thread.close()
        database.close()


def _serving(folder: HubFolder, database: Database, thread: DatabaseThread) -> Serving:
    return Serving(folder.publish / "repository", database, thread)
