"""What tells a model: every line has its source, and only what a maker wrote proves a device to be another one."""

from __future__ import annotations

import pytest

from lamppost.diagnosis.wire import known
from lamppost.diagnosis.wire.scan import _marks
from lamppost_drivers.contract import RegisterMap
from lamppost_drivers.library import LIBRARY


def marks(model: str) -> tuple[known.Mark, ...]:
    driver = LIBRARY[model]
    assert isinstance(driver, RegisterMap)
    return known.of_model(driver)[0]


def test_every_line_names_models_that_are_there_and_where_it_comes_from() -> None:
    for kind in ("mark", "serial"):
        for row in known.table()[kind]:
            assert len(row["source"]) > 20, row
            for model in row["models"]:
                assert isinstance(LIBRARY[model], RegisterMap), model
    assert {row["from"] for row in known.table()["mark"]} <= {"maker", "field"}


def test_no_value_stands_for_two_models() -> None:
    seen: dict[tuple[int, ...], str] = {}
    for row in known.table()["mark"]:
        for value in (row["equals"], *row.get("also", ())):
            place = (row["function"], row["address"], row["count"], value)
            assert place not in seen, (place, seen[place])
            seen[place] = row["models"][0]


@pytest.mark.parametrize(
    ("model", "got", "expected"),
    [
        ("sdm120", 0x20, 0x20),
        ("sdm120", 0x70, 0x20),
        ("sdm120", 0x1234, 0x20),  # the maker prints the code: anything else is another device
        ("sdm630", 0x70, 0x70),
        ("sdm630", 0x79, 0x79),  # the transformer version has the same map
        ("sdm630", 0x20, 0x70),  # an SDM120
        ("sdm630", 0x1234, None),  # no maker's document: says nothing
        ("sdm230", 0x4000, None),
        ("sdm72d-m-v2", 0x84, 0x89),  # the first version
    ],
)
def test_what_a_model_would_read(model: str, got: int, expected: int | None) -> None:
    (mark,) = marks(model)
    assert mark.expected(got) == expected


def test_another_model_is_named_by_its_code() -> None:
    (mark,) = marks("sdm120")
    assert mark.others[0x70] == mark.others[0x79] == "sdm630"
    assert mark.others[0x89] == "sdm72d-m-v2"
    assert 0x20 not in mark.others


def test_a_scan_asks_each_place_once() -> None:
    places = [ask for ask, _ in _marks()]
    assert len(places) == len(set(places)) == 2
    models = dict(_marks())
    assert {models[places[0]][code] for code in (0x70, 0x79, 0x88)} == {"sdm630"}
