"""Map files: what is read, and how what is wrong is named."""

from __future__ import annotations

import pytest

from lamppost_drivers.contract import Absent, Identify, Kind, Serial
from lamppost_drivers.mapfile import LIMIT, MapError, load

GOOD = """
model = "demo"
products = ["Demo 1"]
source = "data sheet"
table = "input"
word_order = "little"
serial = { baud = 19200, parity = "E" }
caveats = [{ text = "Mind the gap.", link = "https://example.org" }]
identify = { address = 11, type = "uint16", equals = 112 }

[[point]]
name = "voltage.l1"
address = 0
type = "float32"
unit = "V"
range = [0, 300]
poll = "fast"

[[point]]
name = "energy.import"
address = 10
type = "uint32"
word_order = "big"
table = "holding"
scale = 0.1
absent = [0xFFFFFFFF]
unit = "kWh"
range = [0, 1e7]
kind = "counter"

[[vector]]
note = "hand-encoded"
registers = { 0 = [0x0000, 0x4366], 10 = [0xFFFF, 0xFFFF] }
expect = { "voltage.l1" = 230.0, "energy.import" = "not_available" }
"""


def test_defaults_and_overrides() -> None:
    demo = load(GOOD.encode(), "demo.toml")
    voltage, energy = demo.registers
    assert (voltage.table, voltage.word_order, voltage.poll, voltage.words) == (
        "input",
        "little",
        "fast",
        2,
    )
    assert (energy.table, energy.word_order, energy.poll, energy.scale) == (
        "holding",
        "big",
        "normal",
        0.1,
    )
    assert (energy.point.kind, energy.point.high) == (Kind.COUNTER, 1e7)
    assert demo.serial == Serial(baud=19200, parity="E")
    assert demo.identify == (Identify(11, "uint16", "input", 112),)
    assert demo.documentation.caveats == ("Mind the gap. (https://example.org)",)
    assert demo.vectors[0].expect == {"voltage.l1": 230.0, "energy.import": Absent.NOT_AVAILABLE}
    assert demo.vectors[0].registers[0] == (0, 0x4366)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "address = 10",
            "adress = 10",
            "demo.toml: demo: point.[energy.import].adress: unknown key; did you mean",
        ),
        ('table = "input"', 'tabel = "input"', "tabel: unknown key; did you mean 'table'?"),
        ("baud = 19200", "bauds = 19200", "serial.bauds: unknown key; did you mean 'baud'?"),
        ('type = "float32"', 'type = "float23"', "did you mean 'float32'?"),
        ("range = [0, 300]", "range = [300, 0]", "low below high"),
        ("range = [0, 300]", "", "range = [low, high] is needed"),
        ('unit = "V"', "", "unit is needed"),
        ('name = "energy.import"', 'name = "voltage.l1"', "stands twice"),
        ('name = "energy.import"', 'name = "Energy"', "should match pattern"),
        ("address = 10", "address = 65535", "ends after register 65535"),
        ("address = 10", "address = 65536", "less than or equal to 65535"),
        ("address = 10", 'address = "10"', "valid integer"),
        ('"voltage.l1" = 230.0', '"voltage.l2" = 230.0', "did you mean 'voltage.l1'?"),
        ("10 = [0xFFFF", "x = [0xFFFF", "no address"),
        ("scale = 0.1", "scale = 0", "every reading the same"),
        ("scale = 0.1", "scale = inf", "finite"),
        ("scale = 0.1", "scale_at = 9", "scale_at must come after"),
        ("scale = 0.1", "words = 2", "words belongs to type text"),
        ('table = "holding"', 'table = "coil"', "type bool and coils belong together"),
        ('model = "demo"', 'model = "Demo!"', "model: String should match"),
        ('kind = "counter"', 'kind = "meter"', "'gauge' or 'counter'"),
        ("[[vector]]", "[[vector", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(MapError) as refused:
        load(GOOD.replace(old, new).encode(), "demo.toml")
    assert said in str(refused.value)


def test_bounds_of_a_file() -> None:
    with pytest.raises(MapError, match="larger than"):
        load(b"#" * (LIMIT + 1))
    for text in (b"\xff", b"a = " + b"9" * 5000, b"a = " + b"[" * 5000):
        with pytest.raises(MapError, match="not TOML"):
            load(text)
