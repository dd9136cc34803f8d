"""A plain table of what was measured in PostgreSQL, with views for Grafana: docs/reference/postgres-sink.md.

One row a window and quantity, one transaction a delivery, in which the delivery's key is what makes it happen once:
receivers on several machines may write to one database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamppost.errors import HubError, StoreError
from lamppost.ngsild.broker import moment
from lamppost_hub.database import Database, Schema, Value
from lamppost_hub.delivery import COUNT, GAP, Delivery, Instance, check, measured
from lamppost_hub.postgres import PostgresDatabase, shown
from lamppost_hub.sinks.opening import disk
from lamppost_hub.sinks.worker import Worker

NAMESPACE = "lamppost"
OWN = "urn:lamppost:"
REASON_OF = OWN + "quality:"  # an attribute of this name says why another one has no value
GREATEST = 2**63 - 1

_SCHEMA = """
CREATE TABLE deliveries (
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, seq BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL,
  received TIMESTAMPTZ NOT NULL, readings BIGINT NOT NULL, PRIMARY KEY (gateway, epoch, seq));
CREATE TABLE measurements (
  time TIMESTAMPTZ NOT NULL, gateway TEXT NOT NULL, device TEXT NOT NULL, type TEXT NOT NULL, quantity TEXT NOT NULL,
  member TEXT NOT NULL, dataset TEXT NOT NULL, value DOUBLE PRECISION, text TEXT, unit TEXT,
  minimum DOUBLE PRECISION, maximum DOUBLE PRECISION, last DOUBLE PRECISION, delta DOUBLE PRECISION,
  readings BIGINT NOT NULL, uncertain BIGINT NOT NULL, bad BIGINT NOT NULL, quality TEXT NOT NULL,
  time_quality TEXT NOT NULL, window_start TIMESTAMPTZ, window_end TIMESTAMPTZ, entity TEXT NOT NULL,
  epoch TEXT NOT NULL, seq BIGINT NOT NULL);
CREATE INDEX measurements_of_device ON measurements (gateway, device, quantity, member, time DESC);
CREATE INDEX measurements_in_time ON measurements (time);
CREATE TABLE gaps (
  gateway TEXT NOT NULL, epoch TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, why TEXT NOT NULL,
  PRIMARY KEY (gateway, epoch, first, last));
CREATE VIEW grafana AS SELECT time, concat_ws(' ', gateway, nullif(device, ''), quantity, nullif(member, '')) AS metric,
  value, minimum, maximum, unit, quality, gateway, device, quantity, member FROM measurements WHERE value IS NOT NULL;
CREATE VIEW newest AS SELECT DISTINCT ON (gateway, device, quantity, member, dataset) * FROM measurements
  ORDER BY gateway, device, quantity, member, dataset, time DESC
"""
_MOMENT = "TIMESTAMPTZ 'epoch' + CAST(? AS BIGINT) * INTERVAL '1 microsecond'"
_INSERT = (
    f"INSERT INTO measurements VALUES ({_MOMENT}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    f" {_MOMENT}, {_MOMENT}, ?, ?, ?)"
)


class PostgresSink:
    """The writer."""

    def __init__(self, database: Database, what: str) -> None:
        self._database = database
        self._worker = Worker(what)

    @classmethod
    def open(cls, url: str, password_file: Path | None = None) -> PostgresSink:
        """A sink for this database, which is connected at the first write. Raises SiteError `hub.settings`."""
        database = PostgresDatabase(url, NAMESPACE, Schema(_SCHEMA), password_file=password_file)
        return cls(database, shown(url))

    async def write(self, delivery: Delivery) -> None:
        """Take a delivery; durable when this returns. Raises HubError `sink.disk` or `sink.payload`."""
        check(delivery)
        await self._worker.run(lambda: self._write(delivery))

    async def close(self) -> None:
        """Close the connection."""
        await self._worker.close(self._database.close)

    def _write(self, delivery: Delivery) -> None:
        try:
            with self._database.transaction():
                if self._is_new(delivery):
                    self._database.many(_INSERT, list(_rows(delivery)))
                    self._add_gaps(delivery)
        except StoreError as error:
            if error.retry:
                raise disk(self._worker.what, error) from error
            raise HubError(
                f"batch {delivery.seq} of {delivery.gateway} does not fit: {error}",
                code="sink.payload",
                hint="compare the versions of gateway and hub; the batch stays in the archive",
            ) from error

    def _is_new(self, delivery: Delivery) -> bool:
        changed = self._database.run(
            f"INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, {_MOMENT}, ?) ON CONFLICT DO NOTHING",
            *delivery.key,
            delivery.span_first,
            delivery.span_last,
            delivery.received_ns // 1000,
            min(delivery.readings, GREATEST),
        )
        return changed == 1

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
                    _clean(gap["why"]),
                )


def _rows(delivery: Delivery) -> Iterator[tuple[Value, ...]]:
    types = {entity["id"]: entity["type"] for entity in delivery.entities}
    for instance in measured(delivery.entities):
        count = instance.content[COUNT]["value"]
        for member in count if isinstance(count, dict) else ("",):
            yield _row(delivery, instance, types[instance.entity], member)


def _row(delivery: Delivery, instance: Instance, kind: str, member: str) -> tuple[Value, ...]:
    content = instance.content
    quantity, shown_member, value = (
        _local(instance.attribute),
        member,
        _of(content, "value", member),
    )
    reason = None
    if instance.attribute.startswith(REASON_OF):
        quantity, _, shown_member = instance.attribute.removeprefix(REASON_OF).partition(".")
        value, reason = None, value
    names = (delivery.gateway, _device(instance.entity, delivery.gateway), _local(kind), quantity)
    return (
        moment(content["observedAt"]),
        *map(_clean, (*names, shown_member, _local(instance.dataset))),
        _float(value),
        None if _float(value) is not None or value is None else _clean(str(value))[:2000],
        _clean(str(content["unitCode"])) if "unitCode" in content else None,
        *(_float(_sub(content, name, member)) for name in ("min", "max", "last", "delta")),
        *(_whole(_sub(content, name, member)) for name in ("count", "uncertain", "bad")),
        _clean(str(reason or _sub(content, "quality", member) or "good")),
        _clean(str(_sub(content, "timeQuality", member) or "synced")),
        _moment(_sub(content, "windowStart", "")),
        _moment(_sub(content, "windowEnd", "")),
        _clean(instance.entity),
        delivery.epoch,
        delivery.seq,
    )


def _sub(content: Mapping[str, Any], name: str, member: str) -> Any:
    """The value of one of our sub-properties, for one member where the values are objects."""
    found = content.get(OWN + name)
    return _of(found, "value", member) if isinstance(found, dict) else None


def _of(content: Mapping[str, Any], name: str, member: str) -> Any:
    value = content.get(name)
    return value.get(member) if member and isinstance(value, dict) else value


def _device(entity: str, gateway: str) -> str:
    """The last part of urn:ngsi-ld:TYPE:GATEWAY:DEVICE; "" for the gateway's own entities."""
    _, found, device = entity.partition(f":{gateway}:")
    return device if found else ""


def _local(name: str) -> str:
    """What stands behind the last slash, hash or colon of an IRI."""
    return name.rstrip("/#:").rpartition("/")[2].rpartition("#")[2].rpartition(":")[2]


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e308 else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _moment(value: Any) -> int | None:
    try:
        return moment(value)
    except (ValueError, TypeError, AttributeError):
        return None


def _clean(text: str) -> str:
    return text.replace("\0", "")  # the one character that PostgreSQL's text has not
