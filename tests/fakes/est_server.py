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
from lamppost_hub.folder import HubFolder
from lamppost_hub.front_door import enrolment, front_door


@contextmanager
def enrolment_server(folder: HubFolder, clock: Clock) -> Iterator[str]:
    """Its URL. Certificates are checked by the machine's clock, everything else by `clock`."""
    ports: queue.Queue[int] = queue.Queue()
    with front_door(folder, "127.0.0.1", 0, enrolment(folder, clock), ports.put) as server:
        serving = threading.Thread(target=lambda: asyncio.run(server.run_here()))
        serving.start()
        try:
            yield f"https://localhost:{ports.get(timeout=20)}"
        finally:
            server.should_exit = True
            serving.join()


def pin_of(folder: HubFolder) -> str:
    """The pin of the CA that signs the hub's servers."""
    return fingerprint(Path(folder.ca / f"{founding.SERVER_CA}.pem"))
