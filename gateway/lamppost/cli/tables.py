"""Rows of readings as CSV (RFC 4180), JSON Lines, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any, TextIO

import orjson

from lamppost.cli.card import Row

FORMATS = ("csv", "jsonl", "parquet")
_GROUP = 50_000


def write_csv(rows: Iterable[Row], out: TextIO) -> int:
    """One line a reading under a line of names; true and false in words, no value as an empty field."""
    table = csv.writer(out)
    table.writerow([f.name for f in fields(Row)])
    count = 0
    for row in rows:
        count += 1
        table.writerow([str(c).lower() if isinstance(c, bool) else c for c in astuple(row)])
    return count


def write_jsonl(rows: Iterable[Row], out: TextIO) -> int:
    """One object a line; numbers that JSON does not know (NaN) become null."""
    count = 0
    for row in rows:
        count += 1
        out.write(orjson.dumps(row).decode() + "\n")
    return count


def has_parquet() -> bool:
    """Whether the extra `parquet` is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def write_parquet(rows: Iterable[Row], path: Path) -> int:
    """A column a member; `value` becomes `number` (double) and `text`, since a column has one type."""
    import pyarrow
    import pyarrow.parquet

    integers = ("number", "boottime_ns")
    names = [f.name for f in fields(Row) if f.name != "value"]
    columns = [(n, pyarrow.int64() if n in integers else pyarrow.string()) for n in names]
    schema = pyarrow.schema(
        [*columns, ("value_number", pyarrow.float64()), ("value_text", pyarrow.string())]
    )
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for group in _grouped(map(_columns, rows)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _columns(row: Row) -> dict[str, Any]:
    found = asdict(row)
    value = found.pop("value")
    text = isinstance(value, (str, bool))
    number = None if text or value is None else float(value)
    return {**found, "value_number": number, "value_text": str(value) if text else None}


def _grouped(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(itertools.islice(items, _GROUP)):
        yield group


WRITERS: dict[str, Callable[[Iterable[Row], TextIO], int]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
}
