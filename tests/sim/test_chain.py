"""From simulated wires to the hub's sink, with real Mosquitto, through kills and outages."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import pytest

from hwsim.demo.bench import Bench
from sim.chain import assert_exactly_once, chain, settled, wait_until

pytestmark = pytest.mark.broker


def _more_at_the_hub(bench: Bench, before: int) -> bool:
    return bool(bench.fleet()["sink"]["readings"] > before)


def test_kill_nine_of_gateway_receiver_and_broker(tmp_path: Path) -> None:
    with chain(tmp_path) as bench:
        wait_until(lambda: bench.fleet()["sink"]["readings"] > 0, "first readings at the hub")
        for victim, start in (
            ("gateway", bench.start_gateway),
            ("receiver", bench.start_receiver),
            ("broker", bench.start_broker),
        ):
            bench.stop(victim, signal.SIGKILL)
            time.sleep(1.0)  # real processes: the others notice, windows close meanwhile
            start()
            before = bench.fleet()["sink"]["readings"]
            more = partial(_more_at_the_hub, bench, before)
            wait_until(more, f"readings again after {victim} was killed")
        assert_exactly_once(settled(bench))


def test_readings_wait_through_an_outage_and_a_pulled_cable(tmp_path: Path) -> None:
    with chain(tmp_path) as bench:
        wait_until(lambda: bench.fleet()["sink"]["readings"] > 0, "first readings at the hub")
        bench.stop("broker")
        bench.cabinet("unplug", line="rs485-1")
        stored = bench.buffer()["appended"]
        wait_until(lambda: bench.buffer()["appended"] > stored + 50, "readings go on into the ring")
        status = bench.status() or {}
        assert status["uplink"]["state"] != "connected"
        assert status["uplink"]["hint"]
        states = {d["name"]: (d["state"], d["reason"]) for d in status["devices"]}
        assert states["air-roof"][0] == "ok"
        assert states["meter-main"][0] in ("suspect", "dead")
        assert states["meter-main"][1] == "not_connected"
        bench.cabinet("plug", line="rs485-1")
        bench.start_broker()
        wait_until(
            lambda: (bench.status() or {})["devices"][0]["state"] == "ok", "the meter answers again"
        )
        assert_exactly_once(settled(bench))
