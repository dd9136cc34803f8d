"""Servers that tests of several folders share, each started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL; what is in it belongs to the test that runs."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
