"""docs/explanation/attacks.md says what each attack meets; here the table is held to the tests and codes it names."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from shared_folder import shared_path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs/explanation/attacks.md"
NUMBERS = set(range(1, 25))  # of the design


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    number: int
    attack: str
    code: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].isdigit():
            tests = tuple(re.findall(r"`(tests/[^`]+)`", cells[4]))
            found.append(Row(int(cells[0]), cells[1], cells[3].strip("`–"), tests))
    return found


ROWS = rows()


@lru_cache(maxsize=32)
def functions(path: str) -> dict[str, str]:
    """The source of each test of a file, with its decorators and what it calls in the same file."""
    text = (CHECKOUT / path).read_text()
    tree = ast.parse(text)
    plain = {
        node.name: "\n".join(
            text.splitlines()[
                min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1 : node.end_lineno
            ]
        )
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    values = {
        target.id: ast.get_source_segment(text, node) or ""
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    known = {**plain, **values}
    return {
        name: source
        + "".join(part for other, part in known.items() if re.search(rf"\b{other}\b", source))
        for name, source in plain.items()
    }


def test_every_attack_of_the_design_that_comes_this_way_is_in_the_table() -> None:
    assert {row.number for row in ROWS} == NUMBERS
    listed = shared_path("design/attacks.md").read_text()
    assert {int(n) for n in re.findall(r"(?m)^\| (\d+) \|", listed)} >= NUMBERS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.attack[:30]}")
def test_each_row_has_tests_that_speak_of_its_code(row: Row) -> None:
    assert row.tests
    sources = []
    for reference in row.tests:
        path, _, name = reference.partition("::")
        assert name in functions(path), f"{reference} is no test"
        sources.append(functions(path)[name])
    if row.code:
        documented = (CHECKOUT / "docs/reference/errors.md").read_text()
        assert f"| `{row.code}` |" in documented
        for reference, source in zip(row.tests, sources, strict=True):
            assert row.code in source, f"{reference} does not speak of {row.code}"


def test_the_check_can_fail() -> None:
    """A test that exists and is about something else does not pass for a row's."""
    (bomb,) = [row for row in ROWS if row.code == "envelope.compression"]
    other = "tests/unit/envelope/test_attacks.py::test_low_order_points"
    with pytest.raises(AssertionError, match="does not speak of"):
        test_each_row_has_tests_that_speak_of_its_code(Row(6, bomb.attack, bomb.code, (other,)))
