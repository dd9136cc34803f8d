"""Gateways that come back: after a hundred days in a store room, and with a clock that stands in 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.est_server import enrolment_server
from hwsim.demo.bench import Bench
from lamppost.envelope import identity
from lamppost_hub import founding
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder
from sim.chain import FAST, archived, assert_exactly_once, chain, settled, wait_until
from unit.hub.world import FrozenClock

pytestmark = pytest.mark.broker

DAY = 86_400 * 10**9
LIBRARIES = ("libfaketime.so.1", "libfaketimeMT.so.1")


def enrol_long_ago(bench: Bench, days: int) -> None:
    """Give the gateway a certificate as it was issued so many days ago."""
    folder = HubFolder(bench.hub)
    home = bench.gateway_state / "identity"
    request = identity.read_request(identity.request(home))
    database = founding.open_database(folder)
    then = FrozenClock(SystemClock().utc() - days * DAY)
    _, bundle = founding.approve(folder, database, request, then, replace=False)
    database.close()
    identity.install(home, bundle)


def test_a_hundred_days_later_the_gateway_renews_by_its_key(tmp_path: Path) -> None:
    def absent(bench: Bench) -> None:
        enrol_long_ago(bench, 100)

    with chain(tmp_path, before_start=absent) as bench:
        home = bench.gateway_state / "identity"
        assert identity.load(home).tls_not_after_ns < SystemClock().utc()
        wait_until(
            lambda: uplink(bench).get("code") == "uplink.refused-certificate",
            "the broker refuses the certificate, and status says why",
        )
        wait_until(lambda: bench.buffer()["appended"], "readings are stored all the same")
        bench.stop("gateway")
        with enrolment_server(HubFolder(bench.hub), SystemClock()) as url:
            identity.remember_hub(home, url)
            bench.start_gateway()
            wait_until(bench.connected, "the gateway is back by itself", timeout=60)
            assert identity.load(home).tls_not_after_ns > SystemClock().utc() + 80 * DAY
            assert_exactly_once(settled(bench))


def uplink(bench: Bench) -> dict[str, object]:
    found: dict[str, object] = (bench.status() or {}).get("uplink", {})
    return found


def faketime() -> Path:
    for name in LIBRARIES:
        for found in Path("/usr/lib").glob(f"*/faketime/{name}"):
            return found
    pytest.skip("libfaketime is not installed: apt-get install faketime")


def test_a_clock_in_1970_stops_nothing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock is faked below the daemon; the boot clock goes on as on a board without a battery."""
    wall = tmp_path / "wall"
    wall.write_text("@1970-01-01 00:00:10\n")
    preload = str(faketime())

    def as_1970(bench: Bench) -> None:
        bench.stop("gateway")
        with monkeypatch.context() as around:
            around.setenv("LD_PRELOAD", preload)
            around.setenv("FAKETIME_TIMESTAMP_FILE", str(wall))
            around.setenv("FAKETIME_NO_CACHE", "1")
            around.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            around.setenv("TZ", "UTC")
            bench.start_gateway()

    with chain(tmp_path / "bench", FAST) as bench:
        wait_until(bench.connected, "a first day with a good clock")
        as_1970(bench)
        wait_until(
            lambda: uplink(bench).get("code") == "uplink.clock", "the clock is named", timeout=60
        )
        before = bench.buffer()["appended"]
        wait_until(lambda: bench.buffer()["appended"] > before, "reading and storing go on")
        wall.write_text("+0\n")  # a time server is heard at last
        wait_until(bench.connected, "the uplink comes back without a restart", timeout=120)
        assert_exactly_once(settled(bench))
        assert min(moments(bench)) > datetime.now(UTC) - timedelta(hours=1)


def moments(bench: Bench) -> list[datetime]:
    """When each window that the hub holds was observed."""
    found = [
        datetime.fromisoformat(attribute["observedAt"])
        for batch in archived(bench)
        for entity in batch
        for attribute in entity.values()
        if isinstance(attribute, dict) and "observedAt" in attribute
    ]
    assert found
    return found
