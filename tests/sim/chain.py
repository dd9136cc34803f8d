"""The whole chain as processes, for tests: the demo's bench with short windows, and what arrived at the end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from hwsim.demo.bench import SITE, Bench
from lamppost.envelope.seal import open_body
from lamppost_hub.folder import HubFolder
from lamppost_hub.founding import open_database
from lamppost_hub.registry import Registry

FAST = SITE.replace('window = "10s"', 'window = "2s"').replace('grace = "1s"', 'grace = "500ms"')


def need_broker() -> None:
    """Skip, saying why, where Debian's mosquitto is not installed."""
    if not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()):
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")


@contextmanager
def chain(
    folder: Path,
    site: str = FAST,
    *,
    cabinet: bool = True,
    before_start: Callable[[Bench], None] = lambda bench: None,
) -> Iterator[Bench]:
    """A prepared and running bench; `before_start` may change its files."""
    need_broker()
    bench = Bench(folder)
    try:
        bench.prepare(site)
        before_start(bench)
        if cabinet:
            bench.start_cabinet()
        bench.start_broker()
        bench.start_receiver()
        bench.start_gateway()
        yield bench
    finally:
        bench.close()


def wait_until(true: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Poll until `true()` holds; fails the test with `what` otherwise."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"not seen within {timeout:g} s: {what}")
        time.sleep(0.1)


def settled(bench: Bench) -> dict[str, Any]:
    """Stop the connected gateway and give both ends' counts: the ring's, and the hub's (ledger and sink)."""
    wait_until(bench.connected, "the gateway is connected")
    bench.stop("gateway")
    ring = bench.buffer()
    wait_until(
        lambda: bench.fleet()["sink"]["readings"] >= ring["appended"],
        "everything stored is at the hub's sink",
        timeout=15,
    )
    fleet = bench.fleet()
    mine = next(g for g in fleet["gateways"] if g["gateway"] == "gw-demo")
    return {"ring": ring, "sink": fleet["sink"], "hub": mine}


def assert_exactly_once(counts: dict[str, Any]) -> None:
    """Everything that the ring had numbered is at the sink, once, and every batch is proved."""
    ring, sink, hub = counts["ring"], counts["sink"], counts["hub"]
    assert ring["appended"] > 0
    assert sink["readings"] + hub["readings_in_gaps"] == ring["appended"]
    assert sink["duplicates"] == 0
    assert ring["waiting"] == 0
    readings = [e for e in hub["epochs"] if not e["epoch"].startswith("alert-")]
    assert ring["batches_settled"] == sum(epoch["batches"] for epoch in readings)


def archived(bench: Bench) -> list[list[dict[str, Any]]]:
    """The entities of every batch in the hub's ledger, in order, verified and opened as an auditor would."""
    folder = HubFolder(bench.hub)
    database = open_database(folder)
    try:
        registry = Registry(database)
        bodies = database.rows("SELECT body FROM entries ORDER BY position")
        hub = folder.settings().id
        return [
            orjson.loads(open_body(body, aud=hub, signer_of=registry.signer_of).payload)
            for (body,) in bodies
        ]
    finally:
        database.close()
