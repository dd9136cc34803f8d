"""The hub's tests that run over both databases: SQLite, and a PostgreSQL server of this test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.postgres import Postgres
from unit.hub.world import HubWorld


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HubWorld]:
    """A new hub over each of them."""
    address = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        address = server.emptied()
    world = HubWorld.make(tmp_path, address)
    yield world
    world.database.close()
