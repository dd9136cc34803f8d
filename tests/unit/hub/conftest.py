"""The hub's tests that run over both databases: SQLite, and a PostgreSQL server of this test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.postgres import Postgres
from unit.hub.world import HubWorld

HERE = Path(__file__).parent
ALWAYS = {"test_ledger", "test_registry", "test_forward", "test_rotation", "test_restored"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What speaks to the database by way of others runs over PostgreSQL in the long run alone."""
    for item in items:
        if "[postgresql" in item.name and item.path.parent == HERE and item.path.stem not in ALWAYS:
            item.add_marker(pytest.mark.long)


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
