"""Two receivers on one shared subscription and one PostgreSQL, killed again and again: nothing is written twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fakes.fast_gateway import READINGS, FastGateway
from fakes.hub_stage import Stage
from fakes.mosquitto import program
from fakes.postgres import Postgres
from fakes.stub_broker import StubBroker
from sim.chain import wait_until

STARTED = "\n--- started\n"

pytestmark = [
    pytest.mark.broker,
    # paho leaves sockets open whose handshake failed, and says so when they are collected
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Receivers:
    """The receivers of a stage: started, killed and started again."""

    def __init__(self, stage: Stage, count: int, *options: str) -> None:
        self._stage = stage
        self._options = options
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.kills = 0
        for number in range(1, count + 1):
            self.start(number)

    def serves(self, number: int) -> bool:
        """Whether it has subscribed since it was started."""
        return "subscribed" in self._log(number).read_text().rpartition(STARTED)[2]

    def _log(self, number: int) -> Path:
        return self._stage.path / f"receiver-{number}.log"

    def start(self, number: int) -> None:
        with self._log(number).open("ab") as log:
            log.write(STARTED.encode())
            log.flush()
            self._running[number] = subprocess.Popen(
                [sys.executable, "-m", "lamppost_hub", "receive", str(self._stage.hub),
                 "--group", "city", "--receiver", str(number), *self._options],
                stdout=log,
                stderr=log,
            )  # fmt: skip

    def kill(self, number: int) -> None:
        self._running[number].kill()
        self._running[number].wait()
        self.kills += 1

    def end(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            assert process.wait(60) in (0, -signal.SIGTERM)  # the latter before it has begun


@pytest.fixture
def stage(tmp_path: Path, postgres: Postgres) -> Iterator[Stage]:
    program()
    stage = Stage(tmp_path, postgres.emptied())
    try:
        yield stage
    finally:
        stage.close()


def found(postgres: Postgres) -> dict[str, Any]:
    """What ledger and sink hold."""
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM lamppost_hub.entries),"
            " (SELECT count(*) FROM lamppost.deliveries),"
            " (SELECT sum(readings)::bigint FROM lamppost.measurements),"
            " (SELECT count(*) FROM lamppost_hub.dead_letters),"
            " (SELECT count(*) FROM lamppost_hub.streams WHERE state <> 'open')"
        ).fetchone()
        assert row is not None
        queues = connection.execute(
            "SELECT c.sink, sum((SELECT count(*) FROM lamppost_hub.entries e"
            " WHERE e.gateway = c.gateway AND e.position > c.through))::bigint"
            " FROM lamppost_hub.cursors c WHERE c.sink NOT LIKE '% alerts'"
            " AND c.sink NOT LIKE '% newest' GROUP BY c.sink"
        ).fetchall()
    names = ("booked", "delivered", "readings", "dead", "not_open")
    return {**dict(zip(names, row, strict=True)), "queues": dict(queues)}


def run(
    stage: Stage,
    postgres: Postgres,
    gateways: int,
    batches: int,
    seed: int,
    pause: float,
    kills: int,
) -> None:
    choose = random.Random(seed)
    print(f"seed {seed}")
    broker = StubBroker()
    stage.start_broker()
    fast = [
        FastGateway(stage.enrol(f"gw-{n}"), stage.port, batches // gateways)
        for n in range(gateways)
    ]
    with broker.serve() as url:
        receivers = Receivers(
            stage, 2, "--sink", f"postgres:{postgres.url()}", "--sink", f"ngsi-ld:{url}"
        )
        try:
            for gateway in fast:
                gateway.start()
            began = time.monotonic()
            while not all(gateway.done.is_set() for gateway in fast):
                assert time.monotonic() < began + 1200
                if receivers.kills == kills:
                    time.sleep(0.2)
                    continue
                number = choose.choice((1, 2))
                wait_until(partial(receivers.serves, number), "a receiver serves")
                time.sleep(choose.uniform(0.1, 1.9) * pause)
                receivers.kill(number)
                time.sleep(choose.uniform(0, 0.5))
                receivers.start(number)
            deadline = time.monotonic() + 600
            while any((state := found(postgres))["queues"].values()) or len(state["queues"]) < 2:
                assert time.monotonic() < deadline, state
                time.sleep(0.5)
        finally:
            for gateway in fast:
                gateway.stop()
            receivers.end()
    state = found(postgres)
    spent = time.monotonic() - began
    sent = sum(gateway.sent for gateway in fast)
    print(
        f"{receivers.kills} kills, {batches} batches in {spent:.0f} s, sent {sent} times: {state}"
    )
    assert [gateway.problems for gateway in fast] == [[]] * gateways
    assert state["booked"] == state["delivered"] == batches
    assert state["readings"] == batches * READINGS
    assert (state["dead"], state["not_open"]) == (0, 0)
    assert broker.repeated() == 0
    kept = [len(broker.moments(f"urn:ngsi-ld:ACMeasurement:gw-{n}:meter",
                               "https://smartdatamodels.org/dataModel.Energy/activePower"))
            for n in range(gateways)]  # fmt: skip
    assert kept == [batches // gateways] * gateways
    assert receivers.kills > 0


def test_receivers_killed_at_random_write_nothing_twice(stage: Stage, postgres: Postgres) -> None:
    run(stage, postgres, gateways=3, batches=90, seed=5, pause=0.3, kills=3)


@pytest.mark.long
def test_ten_thousand_batches_and_receivers_killed_at_random(
    stage: Stage, postgres: Postgres
) -> None:
    run(
        stage,
        postgres,
        gateways=20,
        batches=10_000,
        seed=random.randrange(2**32),
        pause=2.0,
        kills=150,
    )
