"""Signed configuration end to end: stage, sign, release, fetch, trial, confirm; and what goes back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.chain import wait_until
from sim.publishing import publishing

pytestmark = pytest.mark.broker


def test_a_configuration_is_taken_confirmed_and_seen_at_the_hub(tmp_path: Path) -> None:
    with publishing(tmp_path) as bench:
        assert bench.configuration()["state"] == "local"
        rollout = bench.roll_out(bench.site.replace('window = "2s"', 'window = "3s"'))
        wait_until(lambda: bench.configuration().get("state") == "confirmed", "confirmed", 60)
        wait_until(lambda: bench.seen_at_hub(rollout)["stands"] == "confirmed", "the hub knows")
