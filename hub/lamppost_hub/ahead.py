"""The newest batch of readings alone, while a sink is behind: what a current state should show now, ahead of history.

A gateway whose backlog is proved sends no live values, but a broker that writes its history slowly may need hours for
what is archived. So sinks with a current state are given the newest values of the newest batch too, as live values
(docs/formats/alert.md), by a cursor of their own. That takes nothing off the queue: the batch comes in its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lamppost.envelope.seal import ALERT
from lamppost.ngsild.broker import Entity, as_live, instances_of
from lamppost_hub.clock import Clock
from lamppost_hub.database import Database
from lamppost_hub.delivery import COUNT, Delivery
from lamppost_hub.queue import ENTRY, NEWEST, Queue, Queued
from lamppost_hub.sinks import Sink

BEHIND = 10.0  # seconds that a batch has waited until a sink is behind
LOOK = 5.0  # seconds between two looks
_READINGS = f"substr(s.epoch, 1, {len(ALERT)}) <> '{ALERT}'"


def ahead_name(sink: str) -> str:
    """The name under which it is kept how far a sink was shown what is newest."""
    return sink + NEWEST


class NewestQueue(Queue):
    """As `Queue`, but of a gateway there is its newest batch of readings, and only while another one waits for long.

    Sinks are named by `ahead_name`.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database)
        self._clock = clock

    def _is_waiting(self) -> str:
        """Something newer than was shown; and something that the sink itself has not got, received a while ago."""
        since = self._clock.utc() - round(BEHIND * 1e9)
        mine = f"substr(c.sink, 1, length(c.sink) - {len(NEWEST)})"
        return (
            "c.through < g.head AND EXISTS (SELECT 1 FROM cursors m JOIN entries e"
            " ON e.gateway = m.gateway AND e.position > m.through JOIN streams s ON s.number = e.stream"
            f" WHERE m.gateway = g.number AND m.sink = {mine} AND {_READINGS} AND e.received < {since})"
        )

    def next_of(self, sink: str, gateway: str, limit: int) -> list[Queued]:
        """The gateway's newest batch of readings, if this sink was not shown it."""
        rows = self._database.rows(
            f"{ENTRY} WHERE {_READINGS} AND e.gateway = (SELECT number FROM gateways WHERE id = ?)"
            " AND e.position > coalesce((SELECT c.through FROM cursors c WHERE c.sink = ?"
            " AND c.gateway = e.gateway), 0) ORDER BY e.position DESC LIMIT 1",
            gateway,
            sink,
        )
        return [Queued(*row) for row in rows]


class Shown:
    """A sink that is given the newest values of a batch, and none of its history."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def write(self, delivery: Delivery) -> None:
        """Raises HubError as the sink does."""
        shown = live_values(delivery.entities)
        if shown:
            await self._sink.write(
                replace(delivery, epoch=NEWEST.strip() + "-" + delivery.epoch, content=shown)
            )

    async def close(self) -> None:
        """The sink is closed by whoever opened it."""


def live_values(entities: Iterable[Entity]) -> list[Entity]:
    """Windows as live values: the same attributes, but nothing of them counts a reading or spans a time."""
    found = []
    for entity in entities:
        timed = {
            name: as_live(instance)
            for name, attribute in entity.items()
            if name not in ("id", "type")
            for instance in instances_of(attribute)
            if "observedAt" in instance and "datasetId" not in instance
        }
        if any(COUNT in i for a in entity.values() for i in instances_of(a) if isinstance(i, dict)):
            fixed = {
                name: a
                for name, a in entity.items()
                if not any(isinstance(i, dict) and "observedAt" in i for i in instances_of(a))
            }
            found.append({**fixed, **timed})
    return found
