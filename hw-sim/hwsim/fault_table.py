"""The table of faults as values and as Markdown: `python -m hwsim.fault_table`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

COLUMNS: Mapping[str, str] = {
    "stream": "stream (UART)",
    "uart": "exchange (UART)",
    "i2c": "exchange (I2C)",
    "mbus": "exchange (M-Bus)",
    "rtu": "register map (RTU)",
    "tcp": "register map (TCP)",
    "ble": "broadcast (BLE)",
    "pulse": "pulse (GPIO)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A row: `cells` by column, the quality reasons a reading may have (the first must appear), or why not."""

    name: str
    on: str
    text: str
    how: str
    cells: Mapping[str, tuple[str, ...] | str]


def faults() -> tuple[Fault, ...]:
    """The rows of `faults.toml`. Raises ValueError where a cell is missing."""
    text = resources.files("hwsim").joinpath("faults.toml").read_text(encoding="utf-8")
    rows = []
    for row in tomllib.loads(text)["fault"]:
        if missing := COLUMNS.keys() - row.keys():
            raise ValueError(f"fault {row.get('name')!r}: no cell for {', '.join(sorted(missing))}")
        cells = {c: row[c] if isinstance(row[c], str) else tuple(row[c]) for c in COLUMNS}
        rows.append(Fault(row["name"], row["on"], row["text"], row["how"], cells))
    return tuple(rows)


def markdown() -> str:
    """The table for people: what each fault does to readings, then why the empty cells are empty."""
    return "\n".join([*_table(), "", *_reasons()]) + "\n"


def _table() -> Iterator[str]:
    yield f"| fault | hits | {' | '.join(COLUMNS.values())} |"
    yield "|" + "---|" * (2 + len(COLUMNS))
    for row in faults():
        cells = " | ".join("–" if isinstance(c, str) else ", ".join(c) for c in row.cells.values())
        yield f"| **{row.name}**: {row.text} (`{row.how}`) | {row.on} | {cells} |"


def _reasons() -> Iterator[str]:
    for row in faults():
        grouped: dict[str, list[str]] = {}
        for column, cell in row.cells.items():
            if isinstance(cell, str):
                grouped.setdefault(cell, []).append(COLUMNS[column])
        if grouped:
            said = "; ".join(f"{', '.join(where)}: {why}" for why, where in grouped.items())
            yield f"- **{row.name}** – {said}."


if __name__ == "__main__":
    print(markdown(), end="")
