"""What the demo's gateway signs is valid by the schemas of the Smart Data Models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sdm_validation import local_name, problems
from shared_folder import shared_path
from sim.chain import archived, chain, settled, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.shared]

EXPECTED = {
    "AirQualityObserved",
    "Device",
    "DeviceMeasurement",
    "DeviceModel",
    "ThreePhaseAcMeasurement",
}


def test_every_entity_of_every_batch_validates(tmp_path: Path) -> None:
    shared_path("sdm/refs")
    with chain(tmp_path) as bench:
        wait_until(lambda: bench.fleet()["sink"]["readings"] > 300, "some windows at the sink")
        bench.cabinet("unplug", line="rs485-1")  # entities without a value must be valid too
        bench.cabinet("unplug", line="uart-1")
        before = bench.fleet()["sink"]["readings"]
        wait_until(lambda: bench.fleet()["sink"]["readings"] > before + 100, "marked windows")
        settled(bench)
        batches = archived(bench)
    kinds = Counter(local_name(entity["type"]) for entities in batches for entity in entities)
    assert set(kinds) == EXPECTED
    for entities in batches:
        for entity in entities:
            assert problems(entity) == [], entity["id"]
