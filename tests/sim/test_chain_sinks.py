"""One receiver, three sinks: the same readings at each, through a kill of the receiver."""

from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest

from fakes.stub_broker import StubBroker
from hwsim.demo.bench import Bench
from lamppost_hub.delivery import readings_in
from sim.chain import assert_exactly_once, chain, settled, wait_until

pytestmark = pytest.mark.broker

POWER = "https://smartdatamodels.org/dataModel.Energy/totalActivePower"
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-demo:meter-main"


def test_the_same_readings_at_every_sink(tmp_path: Path) -> None:
    broker = StubBroker()
    with broker.serve() as url:

        def three_sinks(bench: Bench) -> None:
            bench.sinks = ("embedded", "jsonl:readings.jsonl", f"ngsi-ld:{url}")

        with chain(tmp_path, before_start=three_sinks) as bench:
            wait_until(lambda: broker.store().current.get(METER), "the meter at the broker")
            bench.stop("receiver", signal.SIGKILL)
            bench.start_receiver()
            before = len(broker.moments(METER, POWER))
            wait_until(
                lambda: len(broker.moments(METER, POWER)) > max(before, 1), "a later window of it"
            )
            counts = settled(bench)
            assert_exactly_once(counts)
            lines = bench.hub / "readings.jsonl"
            stored = counts["ring"]["appended"]
            wait_until(lambda: in_jsonl(lines) == stored, "every reading in the file")
            wait_until(lambda: bench.fleet()["queues"].get("ngsi-ld", 0) == 0, "all at the broker")
            assert len(set(deliveries(lines))) == len(deliveries(lines)) == counts["hub"]["batches"]
    assert broker.repeated() == 0
    assert isinstance(broker.value(METER, POWER), float)
    moments = broker.moments(METER, POWER)
    assert len(set(moments)) == len(moments) > 1


def deliveries(path: Path) -> list[tuple[str, str, int]]:
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [(row["gateway"], row["epoch"], row["seq"]) for row in rows]


def in_jsonl(path: Path) -> int:
    return sum(
        readings_in(orjson.loads(line)["entities"]) for line in path.read_bytes().splitlines()
    )
