"""One SQLite file, the default under the registry and the ledger. The only importer of sqlite3 outside the sinks.

WAL, synchronous=FULL: what a transaction has committed survives a power cut. Several processes of one machine may
open the file (receivers, the command line); a writer waits for the other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from lamppost.errors import StoreError
from lamppost_hub.database import Database, Row, Schema, Value, newer


class SqliteDatabase(Database):
    """The file."""

    shared = False
    for_update = skip_locked = ""  # BEGIN IMMEDIATE has locked it all
    now = "CAST(strftime('%s', 'now') AS INTEGER)"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, schema: Schema) -> Self:
        """Open or create `path` and bring it to the schema's version (PRAGMA user_version).

        Raises StoreError `hub.store-newer` for a file of a later format and `hub.store` for what the disk refuses.
        """
        with _converted():
            connection = sqlite3.connect(
                path,
                timeout=15.0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA wal_autocheckpoint=4000")
        database = cls(connection)
        try:
            database._bring_to(schema, path)
        except BaseException:
            database.close()
            raise
        return database

    def _bring_to(self, schema: Schema, path: Path) -> None:
        if self._version() == schema.version:
            return
        with self.transaction():
            found = self._version()  # again: another process may have done it
            if found > schema.version:
                raise newer(path, found, schema.version)
            for statement in schema.statements_from(found) if found < schema.version else ():
                self.run(statement)
            self.run(f"PRAGMA user_version={schema.version}")

    def _version(self) -> int:
        found = self.row("PRAGMA user_version")
        return int(found[0]) if found else 0

    def inside(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def begin(self) -> None:
        """BEGIN IMMEDIATE: the one writer."""
        self.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """COMMIT, flushed to the disk."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """ROLLBACK where a transaction is still open."""
        if self.inside():
            with contextlib.suppress(StoreError):
                self.run("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.rollback()

    def run(self, sql: str, *values: Value) -> int:
        """Execute one statement; returns how many rows it changed."""
        with _converted():
            return self._connection.execute(sql, values).rowcount

    def many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute one statement for each row of values."""
        with _converted():
            self._connection.executemany(sql, rows)

    def rows(self, sql: str, *values: Value) -> Sequence[Row]:
        """All rows."""
        with _converted():
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"the hub's database: {error}",
            code="hub.store",
            hint="check the disk of the hub's folder: free space, read-only mount, errors in the kernel log",
            retry=True,
        ) from error
