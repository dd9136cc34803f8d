"""Questions to the embedded sink's file, from any process, while the sink writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import orjson

from lamppost.errors import StoreError
from lamppost.ngsild.broker import Entity

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one gateway delivered in one epoch. `numbered` is how many reading numbers its batches answer for."""

    gateway: str
    epoch: str
    batches: int
    readings: int
    numbered: int
    first: int
    last: int


class EmbeddedStore:
    """A read-only view; every call sees what was committed when it began. Use as a context manager."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, path: Path) -> EmbeddedStore:
        """Open for reading alone. Raises StoreError `sink.disk` where there is no such store."""
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=15.0
            )
            connection.execute("SELECT 1 FROM deliveries LIMIT 1")
        except sqlite3.Error as error:
            raise _disk(path, error) from error
        return cls(connection, path)

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def entities(self, entity_type: str = "", gateway: str = "", limit: int = 1000) -> list[Entity]:
        """Current entities by id, of a type (full IRI) and gateway where given."""
        rows = self._rows(
            "SELECT document FROM entities WHERE (? = '' OR type = ?) AND (? = '' OR gateway = ?) ORDER BY id LIMIT ?",
            entity_type,
            entity_type,
            gateway,
            gateway,
            limit,
        )
        return [orjson.loads(document) for (document,) in rows]

    def entity(self, identity: str) -> Entity | None:
        """One current entity."""
        rows = self._rows("SELECT document FROM entities WHERE id = ?", identity)
        found: Entity | None = orjson.loads(rows[0][0]) if rows else None
        return found

    def types(self) -> dict[str, int]:
        """How many current entities there are of each type (full IRI)."""
        return dict(self._rows("SELECT type, count(*) FROM entities GROUP BY type ORDER BY type"))

    def history(
        self, identity: str, attribute: str, limit: int = 1000
    ) -> list[tuple[int, dict[str, Any]]]:
        """The newest instances of an attribute as (microseconds since 1970, instance), oldest first."""
        rows = self._rows(
            "SELECT observed, instance FROM history JOIN series ON number = series WHERE entity = ? AND attribute = ?"
            " ORDER BY observed DESC, history.rowid DESC LIMIT ?",
            identity,
            attribute,
            limit,
        )
        return [(at, orjson.loads(instance)) for at, instance in reversed(rows)]

    def readings(self, gateway: str = "") -> int:
        """How many readings arrived: the sum of all counts but those of alerts, a repeated one counted again."""
        return self._number(
            "SELECT coalesce(sum(readings), 0) FROM history JOIN series ON number = series"
            " WHERE (? = '' OR gateway = ?) AND epoch NOT LIKE 'alert-%'",
            gateway,
            gateway,
        )

    def reduced(self, gateway: str = "") -> int:
        """Of how many readings the gateway had only long windows left."""
        return self._number(
            "SELECT coalesce(sum(json_extract(document, '$.\"urn:lamppost:reduced\".value.readings')), 0)"
            " FROM entities WHERE type = 'urn:lamppost:Reduced' AND (? = '' OR gateway = ?)",
            gateway,
            gateway,
        )

    def duplicates(self, gateway: str = "") -> int:
        """How many writes of an (entity, attribute, dataset, observedAt) came after the first one."""
        return self._number(
            "SELECT coalesce(sum(times - 1), 0) FROM (SELECT count(*) AS times FROM history JOIN series"
            " ON number = series WHERE ? = '' OR gateway = ? GROUP BY series, observed)",
            gateway,
            gateway,
        )

    def delivered(self, gateway: str = "") -> list[Delivered]:
        """Totals by gateway and epoch."""
        rows = self._rows(
            "SELECT gateway, epoch, count(*), sum(readings), sum(last - first + 1), min(first), max(last)"
            " FROM deliveries WHERE ? = '' OR gateway = ? GROUP BY gateway, epoch ORDER BY gateway, epoch",
            gateway,
            gateway,
        )
        return [Delivered(*row) for row in rows]

    def spans(self, gateway: str, epoch: str) -> list[tuple[int, int]]:
        """The reading numbers of each delivery, (first, last), in order of their seq."""
        return [
            (first, last)
            for first, last in self._rows(
                "SELECT first, last FROM deliveries WHERE gateway = ? AND epoch = ? ORDER BY seq",
                gateway,
                epoch,
            )
        ]

    def gaps(self, gateway: str, epoch: str) -> list[tuple[int, int, str]]:
        """Recorded absences as (first, last, why)."""
        return [
            (first, last, why)
            for first, last, why in self._rows(
                "SELECT first, last, why FROM gaps WHERE gateway = ? AND epoch = ? ORDER BY first",
                gateway,
                epoch,
            )
        ]

    def _number(self, sql: str, *values: str | int) -> int:
        return int(self._rows(sql, *values)[0][0])

    def _rows(self, sql: str, *values: str | int) -> Sequence[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _disk(self._path, error) from error


def _disk(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"{path}: {error}",
        code="sink.disk",
        hint="check that the hub has an embedded sink and that this user may read its folder",
        retry=True,
    )
