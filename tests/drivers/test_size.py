"""A UART sensor is a small file: definition, evidence and documentation together in 45 lines."""

from __future__ import annotations

from pathlib import Path

import pytest

import lamppost_drivers
from lamppost_drivers.contract import ExchangeDriver, StreamDriver
from lamppost_drivers.library import _CODE

FOLDER = Path(lamppost_drivers.__file__).parent
MOST = 45
LARGER = {
    "plantower": "eight models with five layouts: 15 lines each",
    "sps30": "UART and I2C in one",
    "p1": "a telegram language",
    "meter": "a record language (M-Bus)",
}


def uart_files() -> list[Path]:
    """The files of drivers that speak over a serial line."""
    return [
        Path(str(module.__file__))
        for module in _CODE
        if any(
            isinstance(d, StreamDriver) or (isinstance(d, ExchangeDriver) and d.bus != "i2c")
            for d in module.DRIVERS
        )
    ]


@pytest.mark.parametrize("file", uart_files(), ids=lambda file: file.stem)
def test_a_uart_sensor_takes_45_lines(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    if file.stem in LARGER:
        assert lines > MOST, f"{file.stem} is small now: take it off the list"
    else:
        assert lines <= MOST, f"{file.stem} has {lines} lines"


def test_the_rule_covers_most_of_them() -> None:
    files = uart_files()
    assert len(files) - len(LARGER) >= 6
    assert LARGER.keys() <= {file.stem for file in files}
