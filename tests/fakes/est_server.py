"""The hub's server for gateways in a thread of the test: enrolment by a clock of the test, and configuration."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamppost_hub import founding
from lamppost_hub.ca import fingerprint
from lamppost_hub.clock import Clock
from lamppost_hub.est import EstServer
from lamppost_hub.folder import HubFolder
from lamppost_hub.publish.serving import Serving
from lamppost_hub.registration import Registration
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.web import Listener, Server


@contextmanager
def enrolment_server(folder: HubFolder, clock: Clock) -> Iterator[str]:
    """Its URL. Certificates are checked by the machine's clock, everything else by `clock`."""
    database, thread = founding.open_database(folder), DatabaseThread()
    est = EstServer(Registration(folder, database, clock), thread, clock)
    ports: queue.Queue[int] = queue.Queue()
    listener = Listener(
        "127.0.0.1",
        0,
        folder.tls / "server.pem",
        folder.tls / "server.key",
        folder.ca / f"{founding.DEVICE_ROOT}.pem",
    )
    configuration = Serving(folder.publish / "repository", database, thread)
    server = Server(configuration.after(est.app.routes), listener, ports.put)
    serving = threading.Thread(target=lambda: asyncio.run(server.run_here()))
    serving.start()
    try:
        yield f"https://localhost:{ports.get(timeout=20)}"
    finally:
        server.should_exit = True
        serving.join()
        thread.close()
        database.close()


def pin_of(folder: HubFolder) -> str:
    """The pin of the CA that signs the hub's servers."""
    return fingerprint(Path(folder.ca / f"{founding.SERVER_CA}.pem"))
