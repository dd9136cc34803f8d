"""The unit table: factors, codes, and what does not convert."""

from __future__ import annotations

import pytest

from lamppost.ngsild.terms import FAMILIES
from lamppost.ngsild.units import SYMBOLS, code_of, conversion


@pytest.mark.parametrize(
    ("symbol", "code", "value", "expected"),
    [
        ("Pa", "A97", 101325.0, 1013.25),
        ("%RH", "C62", 45.0, 0.45),
        ("%", "C62", 100.0, 1.0),
        ("m3", "LTR", 1.2345, 1234.5),
        ("l/min", "MQH", 10.0, 0.6),
        ("mg/m3", "GQ", 0.05, 50.0),
        ("ppm", "61", 0.4, 400.0),
        ("K", "CEL", 273.15, 0.0),
        ("Cel", "CEL", -5.0, -5.0),
        ("W", "KWT", -1500.0, -1.5),
        ("GJ", "KWH", 3.6, 1000.0),
        ("Wh", "KWH", 1234.0, 1.234),
        ("mm", "MTR", 250.0, 0.25),
        ("kW", "WTT", 1.5, 1500.0),
    ],
)
def test_conversions(symbol: str, code: str, value: float, expected: float) -> None:
    convert = conversion(symbol, code)
    assert convert is not None
    assert convert.code == code
    assert value * convert.factor + convert.offset == pytest.approx(expected, abs=1e-9)


def test_what_does_not_measure_the_same_does_not_convert() -> None:
    assert conversion("ug/m3", "61") is None  # needs the gas and the temperature
    assert conversion("VA", "WTT") is None
    assert conversion("mm", "MMQ") is None
    assert conversion("furlong", "MTR") is None
    assert conversion("Pa", "HPA") is None  # a hectolitre of pure alcohol


def test_a_ratio_is_not_a_number_of_things() -> None:
    assert conversion("/", "C62") is not None
    assert conversion("count", "C62") is None


def test_every_code_in_the_terms_is_in_the_table() -> None:
    known = {unit.code for unit in SYMBOLS.values()}
    for family in FAMILIES:
        for name, term in family.terms.items():
            if term is not None:
                assert set(term.codes) <= known, (family.name, name)


def test_codes() -> None:
    assert code_of("hPa") == "A97"
    assert code_of("ug/m3") == "GQ"
    assert code_of("NTU") == ""
    assert code_of("furlong") == ""
