"""Signed configuration end to end: stage, sign, release, fetch, trial, confirm; and what goes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hwsim.demo.bench import free_port
from sim.chain import wait_until
from sim.publishing import PublishingBench, publishing

pytestmark = pytest.mark.broker


def test_a_configuration_is_taken_confirmed_and_seen_at_the_hub(tmp_path: Path) -> None:
    with publishing(tmp_path) as bench:
        assert bench.configuration()["state"] == "local"
        rollout = bench.roll_out(bench.site.replace('window = "2s"', 'window = "3s"'))
        at_hub(bench, rollout, "confirmed")
        assert bench.configuration()["runs"]["rollout"] == rollout


def at_hub(bench: PublishingBench, rollout: str, stands: str) -> dict[str, str]:
    """Wait until the hub knows that the gateway stands so, and what it knows then."""
    seen: list[dict[str, str]] = [{}]

    def stood() -> bool:
        time.sleep(0.5)  # each look is a process
        seen[0] = bench.seen_at_hub(rollout)
        return seen[0]["stands"] == stands

    wait_until(stood, f"{rollout} {stands} at the hub", 120)
    return seen[0]


def edited(old: str, new: str) -> Callable[[str], str]:
    def edit(site: str) -> str:
        assert old in site
        return site.replace(old, new, 1)

    return edit


def without_devices(site: str) -> str:
    return site[: site.index("[[device]]")]


def other_devices(site: str) -> str:
    return site.replace('name = "meter-', 'name = "unknown-').replace('"air-roof"', '"air-cellar"')


ALERT = """
[[alert]]
kind = "threshold"
name = "{name}"
device = "meter-main"
point = "voltage.l1"
above = 1
clear = {clear}
"""

TEN = {
    "unknown driver": (edited('model = "sdm630"', 'model = "sdm6300"'), "config.invalid"),
    "dead port": (edited("/rs485-1", "/rs485-9"), "ota.devices-silent"),
    "wrong baud": (edited("baud = 9600", "baud = 1200"), "ota.devices-silent"),
    "unit clash": (edited("unit = 2", "unit = 1"), "config.invalid"),
    "impossible window": (edited('window = "2s"', 'window = "500ms"'), "config.invalid"),
    "wrong hub": (edited('hub = "hub.demo"', 'hub = "hub.else"'), "ota.other-hub"),
    "endless alert rule": (lambda s: s + ALERT.format(name="mad", clear=2), "config.invalid"),
    "disk budget above the disk": (edited('size = "8MiB"', 'size = "90000GiB"'), "ota.disk-budget"),
    "wrong clock server": (
        edited("[time]", '[time]\nservers = ["127.0.0.1:{nobody}"]'),
        "ota.clock-wrong",
    ),
    "all devices removed": (without_devices, "config.invalid"),
    # and what hides behind the same words
    "wrong host of the hub": (edited('host = "localhost"', 'host = "127.0.0.9"'), "ota.no-receipt"),
    "other devices": (other_devices, "ota.devices-silent"),
    "no way back to the publisher": (
        edited('url = "https://localhost', 'url = "https://127.0.0.9'),
        "ota.no-source",
    ),
}


@pytest.mark.long
def test_bad_configurations_are_refused_or_go_back_within_three_minutes(tmp_path: Path) -> None:
    with publishing(tmp_path) as bench:
        good = bench.site.replace('window = "2s"', 'window = "3s"')
        first = bench.roll_out(good)
        at_hub(bench, first, "confirmed")
        for name, (edit, code) in TEN.items():
            bad = edit(bench.site).replace("{nobody}", str(free_port()))
            began = time.monotonic()
            found = at_hub(bench, bench.roll_out(bad, "--unchecked"), "failed")
            assert found["code"] == code, (name, found)
            assert found["reason"], name
            assert time.monotonic() - began < 180, name
            assert bench.configuration()["runs"]["rollout"] == first
            wait_until(bench.connected, f"the uplink is back after: {name}")
        before = bench.fleet()["sink"]["readings"]
        wait_until(lambda: bench.fleet()["sink"]["readings"] > before + 10, "readings go on")


@pytest.mark.long
def test_a_daemon_killed_in_its_trial_comes_back_with_the_last_good(tmp_path: Path) -> None:
    import signal

    with publishing(tmp_path) as bench:
        good = bench.site.replace('window = "2s"', 'window = "3s"')
        at_hub(bench, bench.roll_out(good), "confirmed")
        slow = good.replace('trial = "30s"', 'trial = "150s"').replace("/rs485-1", "/rs485-9")
        rollout = bench.roll_out(slow)
        wait_until(lambda: bench.configuration().get("state") == "trial", "the trial begins", 60)
        for _ in range(3):  # the first may still be the one that has just staged it
            bench.stop("gateway", signal.SIGKILL)
            bench.start_gateway()
        found = at_hub(bench, rollout, "failed")
        assert found["code"] == "ota.died"
        assert bench.configuration()["state"] == "confirmed"


@pytest.mark.long
def test_tried_on_site_rolled_back_on_site_and_told(tmp_path: Path) -> None:
    with publishing(tmp_path) as bench:
        words = ["--state", bench.gateway_state, "--socket", bench.control]
        local = ["--file", bench.site_file]
        trial = tmp_path / "trial.toml"
        trial.write_text(bench.site.replace('window = "2s"', 'window = "4s"'))
        assert "2 lines differ" in bench.command(
            "lamppost", "config", "diff", trial, *words, *local
        )
        assert "generation 1 is tried" in bench.command("lamppost", "config", "test", trial, *words)
        wait_until(lambda: bench.configuration().get("state") == "confirmed", "confirmed", 60)
        assert 'window = "4s"' in bench.command("lamppost", "config", "show", *words, *local)
        assert "local site file" in bench.command("lamppost", "config", "rollback", *words)
        wait_until(lambda: bench.configuration().get("state") == "local", "back", 60)
        bench.stop("gateway")
        assert "rolled-back" in bench.command("lamppost", "config", "history", *words)
