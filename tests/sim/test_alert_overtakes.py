"""A rising level reaches the hub's sink before a backlog of readings, and so do live values; real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fakes.level_probe import LevelProbe, SinkFile, fill, write_map
from hwsim.demo.bench import Bench
from sim.chain import need_broker, wait_until

pytestmark = pytest.mark.broker

MINUTES = 120  # 48,000 readings
PATIENCE = 120.0


@pytest.fixture
def probe() -> Iterator[LevelProbe]:
    with LevelProbe() as probe:
        yield probe


@pytest.fixture
def bench(tmp_path: Path, probe: LevelProbe) -> Iterator[Bench]:
    """Broker and gateway, a backlog, and no receiver yet."""
    need_broker()
    bench = Bench(tmp_path)
    bench.sinks = (f"jsonl:{tmp_path / 'sink.jsonl'}",)
    try:
        bench.prepare(probe.site())
        write_map(bench)
        fill(bench.gateway_state, time.time_ns() - 60 * 10**9, MINUTES)
        bench.start_broker()
        bench.start_gateway()
        yield bench
    finally:
        bench.stop("gateway", signal.SIGKILL)  # it has nothing left to say
        bench.close()


def test_an_alert_reaches_the_sink_while_a_backlog_drains(bench: Bench, probe: LevelProbe) -> None:
    sink = SinkFile(bench.folder / "sink.jsonl")
    filled = MINUTES * 400
    probe.level = 3.0
    assert bench.buffer()["appended"] >= filled
    wait_until(lambda: (bench.status() or {}).get("alerts"), "the alert is raised", PATIENCE)
    (raised,) = (bench.status() or {})["alerts"]
    assert (raised["rule"], raised["severity"], raised["value"]) == ("flood", "critical", 3.0)
    assert bench.buffer()["waiting"] >= filled
    bench.start_receiver()
    wait_until(sink.alerts, "the alert is at the sink", PATIENCE)
    assert [said[:2] for said in sink.alerts()] == [("flood", "raised")]
    probe.level = 1.0
    wait_until(lambda: len(sink.alerts()) == 2, "its end is at the sink", PATIENCE)
    wait_until(lambda: sink.reached() >= filled - 1, "the backlog is at the sink", PATIENCE)
    found = sink.look()
    readings = [line for line in found if not line.urgent]
    first = next(index for index, line in enumerate(found) if line.urgent)
    end = next(n for n, line in enumerate(found) if not line.urgent and line.last >= filled - 1)
    assert first < end, "it was there before the end of the backlog"
    assert readings[0].first == 0
    assert all(late.first == early.last + 1 for early, late in pairwise(readings))
    numbers = [(line.seq, line.first, line.last) for line in found if line.urgent]
    assert numbers == [(n, n, n) for n in range(len(numbers))]
    assert [said[1] for said in sink.alerts()] == ["raised", "cleared"]
    live = next(index for index, line in enumerate(found) if line.live)
    assert live < end, "so were live values"
    levels = [value for line in found for name, value, _ in line.live if name.endswith(":well")]
    assert 3.0 in levels or 1.0 in levels, [line.live[:3] for line in found if line.live]
    assert all(not line.live for line in readings)
