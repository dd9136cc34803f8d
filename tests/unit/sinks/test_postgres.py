"""What Grafana finds: rows of numbers with names and units, reasons where there is no number, gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
import pytest

from fakes.deliveries import delivery, gap
from fakes.postgres import Postgres
from lamppost.errors import HubError
from lamppost_hub.delivery import COUNT, Delivery
from lamppost_hub.sinks.postgres import PostgresSink


@pytest.fixture
async def sink(postgres: Postgres) -> AsyncIterator[PostgresSink]:
    sink = PostgresSink.open(postgres.emptied())
    yield sink
    await sink.close()


def rows(postgres: Postgres, sql: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(postgres.url()) as connection:
        return connection.execute(sql).fetchall()


async def test_a_window_is_a_row(postgres: Postgres, sink: PostgresSink) -> None:
    await sink.write(delivery(0, gaps=(gap(5, 9),)))
    found = rows(
        postgres,
        "SELECT device, type, quantity, member, value, minimum, maximum, delta, unit, readings, bad, quality"
        " FROM lamppost.measurements ORDER BY quantity, member",
    )
    meter = ("dev", "ThreePhaseAcMeasurement", "phaseVoltage")
    assert (*meter, "L1", 230.0, 229.0, 231.0, None, "VLT", 60, 0, "good") in found
    assert (*meter, "L2", None, None, None, None, None, 60, 60, "no_response") in found
    (energy,) = (row for row in found if row[2] == "totalActiveEnergyImport")
    assert (energy[4], energy[7], energy[9]) == (100.0, 1.0, 6)
    assert rows(postgres, "SELECT first, last, why FROM lamppost.gaps") == [(5, 9, "evicted")]


async def test_grafana_gets_a_time_a_name_and_a_number(
    postgres: Postgres, sink: PostgresSink
) -> None:
    for seq in range(3):
        await sink.write(delivery(seq))
    found = rows(
        postgres,
        "SELECT extract(epoch FROM time)::bigint, value FROM lamppost.grafana"
        " WHERE metric = 'gw-1 dev phaseVoltage L1' ORDER BY time",
    )
    assert [value for _, value in found] == [230.0, 231.0, 232.0]
    assert [b[0] - a[0] for a, b in pairwise(found)] == [60, 60]
    newest = "SELECT value FROM lamppost.newest WHERE quantity = 'phaseVoltage' AND member = 'L1'"
    assert rows(postgres, newest) == [(232.0,)]


async def test_what_does_not_fit_a_column_is_no_reason_to_stop(
    postgres: Postgres, sink: PostgresSink
) -> None:
    odd: dict[str, Any] = {
        "id": "urn:x:\0",
        "type": "https://example.org/Odd\0",
        "urn:a": {
            "type": "Property",
            "value": "te\0xt",
            "observedAt": "2026-01-01T00:00:00Z",
            COUNT: {"type": "Property", "value": {"a": 2**63 - 1, "b": 2**63 - 1}},
            "urn:lamppost:min": {"type": "Property", "value": 10**400},
            "urn:lamppost:windowStart": {"type": "Property", "value": "yesterday"},
        },
    }
    await sink.write(Delivery("gw-1", "e1", 0, 0, 9, 0, [odd]))
    assert (
        rows(postgres, "SELECT text, quantity, type, minimum FROM lamppost.measurements")
        == [("text", "a", "Odd", None)] * 2
    )


async def test_a_server_that_is_down_is_waited_for(
    postgres: Postgres, sink: PostgresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamppost_hub.postgres.PAUSE", 0.0)
    await sink.write(delivery(0))
    postgres.stop()
    try:
        with pytest.raises(HubError) as refused:
            await sink.write(delivery(1))
        assert (refused.value.code, refused.value.retry) == ("sink.disk", True)
    finally:
        postgres.start()
    await sink.write(delivery(1))
    assert rows(postgres, "SELECT count(*) FROM lamppost.deliveries") == [(2,)]
