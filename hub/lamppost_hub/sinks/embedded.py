"""The hub's own small store in SQLite: current state of entities, history of what was measured, what was delivered.

For demonstrations, small cities and the tests; `EmbeddedStore` reads it while the sink writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from lamppost.ngsild.broker import Entity, instances_of, moment
from lamppost_hub.database import Database, Schema
from lamppost_hub.delivery import GAP, Delivery, check, measured
from lamppost_hub.sinks.worker import Worker
from lamppost_hub.sqlite import SqliteDatabase

LIVE = "urn:lamppost:live"  # docs/formats/alert.md
_SCHEMA = """
CREATE TABLE deliveries (
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  received INTEGER NOT NULL, readings INTEGER NOT NULL, PRIMARY KEY (gateway, epoch, seq)) WITHOUT ROWID;
CREATE TABLE entities (id TEXT PRIMARY KEY, type TEXT NOT NULL, gateway TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX entities_type ON entities (type);
CREATE TABLE series (
  number INTEGER PRIMARY KEY, entity TEXT NOT NULL, attribute TEXT NOT NULL, dataset TEXT NOT NULL,
  gateway TEXT NOT NULL, UNIQUE (entity, attribute, dataset));
CREATE TABLE history (
  series INTEGER NOT NULL REFERENCES series, observed INTEGER NOT NULL, readings INTEGER NOT NULL,
  epoch TEXT NOT NULL, seq INTEGER NOT NULL, instance TEXT NOT NULL);
CREATE INDEX history_time ON history (series, observed);
CREATE TABLE gaps (
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, why TEXT NOT NULL,
  PRIMARY KEY (gateway, epoch, first, last)) WITHOUT ROWID
"""


class EmbeddedSink:
    """The writer; one transaction a delivery, in which the delivery's key is what makes it happen once."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._worker = Worker(path)
        self._series: dict[tuple[str, str, str], int] = {}

    @classmethod
    def open(cls, path: Path) -> EmbeddedSink:
        """Open or create the store. Raises StoreError."""
        return cls(SqliteDatabase.open(path, Schema(_SCHEMA)), path)

    async def write(self, delivery: Delivery) -> None:
        """Take a delivery; durable when this returns. Raises HubError `sink.disk` or `sink.payload`."""
        check(delivery)
        await self._worker.run(lambda: self._write(delivery))

    async def close(self) -> None:
        """Close the store."""
        await self._worker.close(self._database.close)

    def _write(self, delivery: Delivery) -> None:
        try:
            with self._database.transaction():
                if self._is_new(delivery):
                    self._add_history(delivery)
                    self._add_gaps(delivery)
                    for entity in delivery.entities:
                        self._merge(delivery.gateway, entity)
        except BaseException:
            self._series.clear()  # numbers that were rolled back are no numbers
            raise

    def _is_new(self, delivery: Delivery) -> bool:
        changed = self._database.run(
            "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *delivery.key,
            delivery.span_first,
            delivery.span_last,
            delivery.received_ns,
            delivery.readings,
        )
        return changed == 1

    def _add_history(self, delivery: Delivery) -> None:
        for instance in measured(delivery.entities):
            key = (instance.entity, instance.attribute, instance.dataset)
            self._database.run(
                "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)",
                self._number(key, delivery.gateway),
                moment(instance.content["observedAt"]),
                instance.count,
                delivery.epoch,
                delivery.seq,
                orjson.dumps(instance.content).decode(),
            )

    def _number(self, key: tuple[str, str, str], gateway: str) -> int:
        number = self._series.get(key)
        if number is None:
            found = self._database.row(
                "SELECT number FROM series WHERE entity = ? AND attribute = ? AND dataset = ?", *key
            )
            number = self._series[key] = (
                int(found[0])
                if found
                else self._database.insert(
                    "INSERT INTO series (entity, attribute, dataset, gateway) VALUES (?, ?, ?, ?)"
                    " RETURNING number",
                    *key,
                    gateway,
                )
            )
        return number

    def _add_gaps(self, delivery: Delivery) -> None:
        for entity in delivery.entities:
            if GAP in entity:
                gap = entity[GAP]["value"]
                self._database.run(
                    "INSERT INTO gaps VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    delivery.gateway,
                    delivery.epoch,
                    gap["first"],
                    gap["last"],
                    gap["why"],
                )

    def _merge(self, gateway: str, entity: Entity) -> None:
        row = self._database.row("SELECT document FROM entities WHERE id = ?", entity["id"])
        document = merged(orjson.loads(row[0]) if row else {}, entity)
        self._database.run(
            "INSERT INTO entities VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document,"
            " type = excluded.type, gateway = excluded.gateway",
            entity["id"],
            entity["type"],
            gateway,
            orjson.dumps(document).decode(),
        )


def merged(current: Entity, update: Entity) -> Entity:
    """`current` with the attributes of `update` that are not older, dataset by dataset."""
    result = dict(current)
    for name, attribute in update.items():
        if name in ("id", "type") or name not in result:
            result[name] = attribute
            continue
        instances = {_dataset(i): i for i in instances_of(result[name])}
        for instance in instances_of(attribute):
            known = instances.get(_dataset(instance))
            if known is None or _rank(instance) >= _rank(known):
                instances[_dataset(instance)] = instance
        kept = list(instances.values())
        result[name] = kept[0] if len(kept) == 1 else kept
    return result


def _dataset(instance: dict[str, Any]) -> str:
    return str(instance.get("datasetId", ""))


def _rank(instance: dict[str, Any]) -> tuple[int, bool]:
    """The instance's moment (without one it is as good as the newest), where a window goes before a live value."""
    observed = instance.get("observedAt")
    return (moment(observed) if observed else 2**63), LIVE not in instance
