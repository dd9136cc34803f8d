"""What registry, ledger and queue need of a database: statements and durable transactions. No SQL of anybody's tables.

Two keep it: `sqlite.py` (one file, the default) and `postgres.py` (receivers on several machines). The statements are
written once, in what both understand, with `?` for values; where they differ a member of `Database` says it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from lamppost.errors import StoreError

Value: TypeAlias = str | int | float | bytes | None
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables as SQLite writes them, statements parted by ";\\n", and their `version`.

    `upgrades` holds, by version, what a database of an older version lacks. Where `creates_again` is true the
    tables themselves are idempotent DDL, and are made before that.
    """

    tables: str
    version: int = 1
    upgrades: Mapping[int, str] = field(default_factory=dict)
    creates_again: bool = False

    def statements_from(self, found: int) -> list[str]:
        """What brings a database of version `found` (0: an empty one) to this version."""
        parts = [self.tables] if found == 0 or self.creates_again else []
        if found:
            parts += [
                self.upgrades[n] for n in range(found + 1, self.version + 1) if n in self.upgrades
            ]
        return [statement for part in parts for statement in part.split(";\n")]


class Database(ABC):
    """A connection used by one thread at a time. Every error of the store leaves as StoreError `hub.…`."""

    shared: ClassVar[bool]  # whether several machines may use it at a time
    for_update: ClassVar[
        str
    ]  # ends a SELECT whose rows nobody else may change until the transaction ends
    skip_locked: ClassVar[
        str
    ]  # the same for the rows of table `c`, leaving out those that somebody has
    now: ClassVar[str]  # the store's own clock, UTC in whole seconds

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Durable when it ends without an exception, else nothing happened. Inside another one it joins that one.

        One writer at a time in SQLite. In PostgreSQL others write too: lock rows with `for_update`.
        """
        if self.inside():
            yield
            return
        self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

    @abstractmethod
    def inside(self) -> bool:
        """Whether a transaction is open."""

    @abstractmethod
    def begin(self) -> None:
        """Open a transaction."""

    @abstractmethod
    def commit(self) -> None:
        """Make it durable."""

    @abstractmethod
    def rollback(self) -> None:
        """Forget it; never raises, and does nothing where none is open any more."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read inside is of one moment; writers go on meanwhile."""

    @abstractmethod
    def run(self, sql: str, *values: Value) -> int:
        """Execute one statement; returns how many rows it changed."""

    @abstractmethod
    def many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute one statement for each row of values."""

    @abstractmethod
    def rows(self, sql: str, *values: Value) -> Sequence[Row]:
        """All rows."""

    def row(self, sql: str, *values: Value) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def insert(self, sql: str, *values: Value) -> int:
        """Execute one INSERT that ends with RETURNING the new row's number; returns that."""
        found = self.row(sql, *values)
        return int(found[0]) if found else 0

    @abstractmethod
    def close(self) -> None:
        """Give it back; an open transaction is rolled back."""


def newer(what: object, found: int, known: int) -> StoreError:
    """A database that a later program wrote."""
    return StoreError(
        f"{what} has format {found}, this program knows {known}",
        code="hub.store-newer",
        hint="start the newer lamppost-hub that wrote it",
    )
