"""How models tell what they are: registers with a known word, and where the serial number stands.

From `known.toml` and from the maps' own `identify`. A register that is refused proves nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from lamppost.diagnosis.wire.ask import FUNCTIONS, Ask
from lamppost_drivers.contract import RegisterMap
from lamppost_drivers.registermap import words_of


@dataclass(frozen=True, slots=True)
class Mark:
    """A register that reads `equals` in this model, or one of `also` in a variant of it.

    `others` holds, by what it reads, the models that it would be. Unless `only`, a value of no known model says
    nothing: the register of this model is known from the field, not from the maker.
    """

    ask: Ask
    equals: int
    others: Mapping[int, str]
    also: tuple[int, ...] = ()
    only: bool = True

    def expected(self, got: int) -> int | None:
        """What this model would read where it reads `got`; None where that says nothing."""
        if got in self.also:
            return got
        return self.equals if self.only or got == self.equals or got in self.others else None


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """`known.toml`."""
    file = resources.files("lamppost.diagnosis.wire").joinpath("known.toml")
    with file.open("rb") as opened:
        return tomllib.load(opened)


def of_model(driver: RegisterMap) -> tuple[tuple[Mark, ...], Ask | None]:
    """The marks of a model, and where its serial number stands."""
    rows = table()
    marks = []
    for row in rows["mark"]:
        if driver.model in row["models"]:
            ask = Ask(row["function"], row["address"], row["count"])
            also = tuple(row.get("also", ()))
            only = row["from"] == "maker"
            marks.append(Mark(ask, row["equals"], _others(row), also, only))
    for own in driver.identify:
        if isinstance(own.equals, int):
            ask = Ask(FUNCTIONS[own.table], own.address, words_of(own.type))
            marks.append(Mark(ask, own.equals, {}))
    for row in rows["serial"]:
        if driver.model in row["models"]:
            return tuple(marks), Ask(row["function"], row["address"], row["count"])
    return tuple(marks), None


def _others(row: Mapping[str, Any]) -> dict[int, str]:
    place = ("function", "address", "count")
    return {
        value: other["models"][0]
        for other in table()["mark"]
        if other is not row and all(other[key] == row[key] for key in place)
        for value in (other["equals"], *other.get("also", ()))
    }
