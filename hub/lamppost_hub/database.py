"""One SQLite file under the registry and the ledger. The only importer of sqlite3 outside the sinks.

WAL, synchronous=FULL: what a transaction has committed survives a power cut. Several processes may open the file
(the receiver, the command line); a writer waits for the other. No SQL of anybody's tables stands here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

from lamppost.errors import StoreError

Value: TypeAlias = str | int | bytes | None
Row: TypeAlias = tuple[Any, ...]

FORMAT = 1  # PRAGMA user_version of a file, unless its owner names another


class Database:
    """A connection used by one thread at a time. Every sqlite3 error leaves as StoreError `hub.store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, schema: str, version: int = FORMAT) -> Self:
        """Open or create `path` and make sure that `schema` is in it, which is idempotent DDL where
        `version` is above 1: a file of an older version gets what it lacks.

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
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        database = cls(connection)
        if found > version:
            database.close()
            raise StoreError(
                f"{path} has format {found}, this program knows {version}",
                code="hub.store-newer",
                hint="start the newer lamppost-hub that wrote it",
            )
        if found < version:
            with database.transaction():
                for statement in schema.split(";\n"):
                    database.run(statement)
                database.run(f"PRAGMA user_version={version}")
        return database

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, durable when it ends without an exception, else nothing happened.

        Inside another transaction it joins that one.
        """
        if self._inside():
            yield
            return
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._inside():
                self.run("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment; writers go on meanwhile."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK")

    def _inside(self) -> bool:
        return self._connection.in_transaction

    def run(self, sql: str, *values: Value) -> int:
        """Execute one statement; returns how many rows it changed."""
        with _converted():
            return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Value) -> int:
        """Execute one INSERT; returns the new row's number."""
        with _converted():
            return self._connection.execute(sql, values).lastrowid or 0

    def row(self, sql: str, *values: Value) -> Row | None:
        """The first row, or None."""
        with _converted():
            found: Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def rows(self, sql: str, *values: Value) -> Sequence[Row]:
        """All rows."""
        with _converted():
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
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
