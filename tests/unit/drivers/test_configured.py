"""Maps whose scales the device is asked for: sound settings, settings that are none, and files that are wrong."""

from __future__ import annotations

import pytest

from lamppost_drivers.configured import Bits, Setting, power
from lamppost_drivers.contract import FrameError, ReadRegisters, RegisterMap
from lamppost_drivers.electricity import sma
from lamppost_drivers.library import LIBRARY
from lamppost_drivers.mapfile import MapError, load
from lamppost_drivers.registermap import decode
from lamppost_drivers.selftest import discovered

MAP = """model = "x"
products = ["X"]
source = "s"

[[setting]]
name = "u"
address = 100
plus = 3
parts = [{ times = -1, values = [0, 1, 2, 3, 4, 5, 6] }]

[[point]]
name = "voltage"
address = 1
type = "uint16"
power_from = "u"
unit = "V"
range = [0, 1000]

[[point]]
name = "current"
address = 2
type = "uint16"
scale = 0.1
unit = "A"
range = [0, 100]
"""


def read(setting: int) -> dict[str, object]:
    driver = load(MAP.encode())
    assert driver.discover is not None
    found = discovered(driver.discover(), {1: (2302, 51), 100: (setting,)})
    assert found.discover is None
    return dict(decode(found.registers, {1: (2302, 51)}))


@pytest.mark.parametrize(("setting", "volts"), [(4, 230.2), (3, 2302), (5, 23.02), (0, 2302000)])
def test_a_setting_scales_its_points_and_no_others(setting: int, volts: float) -> None:
    assert read(setting) == {"voltage": volts, "current": 5.1}


@pytest.mark.parametrize("setting", [7, 0xFFFF, 0x0103])
def test_a_setting_that_is_none_is_refused_and_nothing_is_guessed(setting: int) -> None:
    with pytest.raises(FrameError, match="setting u, register 100"):
        read(setting)


def test_a_device_that_refuses_its_setting_is_not_read() -> None:
    driver = load(MAP.encode())
    assert driver.discover is not None
    discovery = driver.discover()
    assert next(discovery) == ReadRegisters(100, 1)
    with pytest.raises(FrameError, match="refused"):
        discovery.send(None)


def test_points_are_declared_before_the_device_was_asked() -> None:
    driver = load(MAP.encode())
    assert driver.registers == ()
    assert [point.name for point in driver.points] == ["voltage", "current"]
    assert driver == load(MAP.encode())
    assert driver != load(MAP.replace("plus = 3", "plus = 2").encode())


def test_two_fields_of_one_register_count_together() -> None:
    setting = Setting("e", 30005, 0, (Bits(4, 3, 1, (0, 3, 6)), Bits(0, 3, -1, tuple(range(7)))))
    assert power(setting, 0x3362) == 4
    assert power(setting, 0x8131) == 2
    with pytest.raises(FrameError, match="5 is none"):
        power(setting, 0x0050)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('power_from = "u"', 'power_from = "v"', "no setting 'v'"),
        ('power_from = "u"', 'power_from = "u"\noffset = 1.0', "power_from goes with a number"),
        ("plus = 3", "plus = 30", "setting"),
        ("times = -1", "tims = -1", "unknown key; did you mean 'times'"),
        ("values = [0, 1, 2, 3, 4, 5, 6]", "values = []", "values"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(old: str, new: str, said: str) -> None:
    assert old in MAP
    with pytest.raises(MapError, match=said):
        load(MAP.replace(old, new, 1).encode())


def test_power_from_without_settings_is_refused() -> None:
    cut = MAP[: MAP.index("[[setting]]")] + MAP[MAP.index("[[point]]") :]
    with pytest.raises(MapError, match="no setting 'u'"):
        load(cut.encode())


def test_maps_of_sma_devices_know_its_values_for_none() -> None:
    for model in ("sma-sc-us", "sma-sensorbox"):
        driver = LIBRARY[model]
        assert isinstance(driver, RegisterMap)
        for register in driver.registers:
            assert sma.ABSENT[register.type] in register.absent, register.point.name


def test_the_list_of_a_webbox_ends_where_no_device_is_available() -> None:
    blocks = {
        42109: (155, 0x0ACB, 0x5EC7, 3, 0, 0, 0, 0, 81, 0, 7, 4, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)
    }
    assert sma.references(blocks) == (
        sma.Reference(155, 0x0ACB5EC7, 3),
        sma.Reference(0, 0, 0),
        sma.Reference(81, 7, 4),
    )
    assert sma.references({0: (1, 2, 3)}) == ()
