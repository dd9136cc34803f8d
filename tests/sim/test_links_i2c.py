"""An I2C bus from the site file to the samples: real smbus2 on a simulated bus, and what goes wrong on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("smbus2")

from fakes.acquiring import Acquiring
from hwsim.i2c import I2cBus
from hwsim.i2c_devices import Ads1115, Bme280, Bme680, Scd4x, Sht4x, Sps30
from hwsim.preload import PreloadError, environment, library

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

BUS = '[[link]]\nname = "bus"\nkind = "i2c"\nport = "/dev/i2c-1"\n'
# The worked example of Bosch's data sheet: 25.08 °C, 100 653 Pa.
CALIBRATION = (
    bytes.fromhex("706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017004b"),
    bytes.fromhex("780100112e031e"),
)
RAW = bytes.fromhex("655ac07eed007649")
BME680 = (
    (
        bytes.fromhex("0f670300d18e6bd75800cc1f9dff291e0000fcf44cf51e"),
        bytes.fromhex("3ec430002d14789c0d66c7cfe212"),
        bytes.fromhex("2c001000f0"),
    ),
    bytes.fromhex("80005178c07ae4a04e2000000083b60000"),
)


def device(name: str, model: str, every: str = "250ms", more: str = "") -> str:
    return (
        f'[[device]]\nname = "{name}"\nmodel = "{model}"\nlink = "bus"\nevery = "{every}"\n{more}\n'
    )


@pytest.fixture()
def bus(tmp_path: Path) -> Iterator[I2cBus]:
    with I2cBus(tmp_path / "dev") as made:
        yield made


def acquiring(tmp_path: Path, *devices: str) -> Acquiring:
    return Acquiring(tmp_path, BUS + "".join(devices), environment(tmp_path / "dev"))


def test_seven_devices_share_a_bus(tmp_path: Path, bus: I2cBus) -> None:
    bus.devices = {
        0x44: Sht4x(21.5, 48.0),
        0x45: Sht4x(-7.0, 90.0),
        0x62: Scd4x(834, 22.0, 40.0),
        0x69: Sps30([1.5, 2.5, 3.5, 4.5, 10, 20, 30, 40, 50, 0.5]),
        0x76: Bme280(CALIBRATION, RAW),
        0x77: Bme680(*BME680),
        0x48: Ads1115([0.4, 1.2, 0.01, 2.0]),  # 4 mA, 12 mA, open, 20 mA
    }
    names = ("in", "out", "co2", "pm", "air", "gas", "loops")
    with acquiring(
        tmp_path,
        device("in", "sht4x"),
        device("out", "sht4x", more="address = 0x45"),
        device("co2", "scd4x", "1s"),
        device("pm", "sps30-i2c", "500ms"),
        device("air", "bme280"),
        device("gas", "bme680", "1s", more="address = 0x77"),
        device("loops", "ads1115-4-20ma"),
    ) as gateway:
        for name in ("in", "out", "co2", "pm", "air", "gas"):
            gateway.wait_for(name, "good")
        gateway.wait(lambda: gateway.of("loops"))
        newest = {name: gateway.newest(name) for name in names}
        (status,) = gateway.status()
        assert gateway.said() == ""
    assert newest["in"]["temperature"] == pytest.approx(21.5, abs=0.01)
    assert newest["out"]["humidity"] == pytest.approx(90.0, abs=0.01)
    assert newest["co2"]["co2"] == 834
    assert newest["pm"]["pm25"] == 2.5
    assert newest["air"]["pressure"] == pytest.approx(100653.27, abs=1)
    assert newest["gas"]["gas.resistance"] == pytest.approx(123702.7, abs=1)
    assert newest["loops"]["loop.ch2"] == pytest.approx(12.0, abs=0.01)
    assert gateway.of("loops")[-1]["reasons"]["loop.ch3"] == "not_available"
    assert {found["state"] for found in status["devices"]} == {"ok"}
    for name in names:
        assert "no_response" not in gateway.reasons(name), name


@pytest.mark.parametrize("nack", [121, 19])
def test_a_device_that_does_not_acknowledge_is_alone_with_it(tmp_path: Path, nack: int) -> None:
    with I2cBus(tmp_path / "dev", nack=nack) as bus:
        bus.devices[0x44] = Sht4x()
        with acquiring(
            tmp_path, device("here", "sht4x"), device("gone", "sht4x", more="address = 0x45")
        ) as gateway:
            gateway.wait_for("gone", "no_response")
            gateway.wait(lambda: gateway.reasons("here")["good"] >= 6)
            (status,) = gateway.status()
            bus.devices[0x45] = Sht4x()
            gateway.wait_for("gone", "good")
        assert set(gateway.reasons("here")) == {"good"}
        assert status["opened"] == 1
        assert status["devices"][1]["fault"]["code"] == "link.no-answer"
        assert "i2cdetect -y 1" in status["devices"][1]["fault"]["hint"]


def test_wrong_checks_are_corrupt_and_never_values(tmp_path: Path, bus: I2cBus) -> None:
    good, bad = Sht4x(), Sht4x()
    bad.bad_crc = True
    bus.devices = {0x44: good, 0x45: bad}
    with acquiring(
        tmp_path, device("good", "sht4x"), device("bad", "sht4x", more="address = 0x45")
    ) as gateway:
        gateway.wait(lambda: gateway.reasons("good")["good"] >= 6)
        assert set(gateway.reasons("bad")) == {"corrupt"}
        assert set(gateway.reasons("good")) == {"good"}
        bad.bad_crc = False
        gateway.wait_for("bad", "good")


def test_a_stuck_bus_is_named_and_comes_back(tmp_path: Path, bus: I2cBus) -> None:
    bus.devices = {0x44: Sht4x(), 0x45: Sht4x()}
    with acquiring(
        tmp_path, device("air", "sht4x"), device("post", "sht4x", more="address = 0x45")
    ) as gateway:
        gateway.wait_for("air", "good")
        bus.stuck = True
        gateway.wait_for("air", "no_response")
        gateway.wait_for("post", "no_response")
        (status,) = gateway.status()
        assert [found["fault"]["code"] for found in status["devices"]] == ["link.stuck"] * 2
        bus.stuck = False
        gateway.wait_for("air", "good", after=len(gateway.samples))
        gateway.wait_for("post", "good", after=len(gateway.samples))


def test_the_adapter_goes_and_comes_back(tmp_path: Path) -> None:
    with acquiring(tmp_path, device("air", "sht4x")) as gateway:
        for degrees in (20.0, 5.0):
            with I2cBus(tmp_path / "dev") as bus:
                bus.devices[0x44] = Sht4x(degrees)
                gateway.wait_for("air", "good", after=len(gateway.samples))
                told = gateway.of("air")[-1]["values"]["temperature"]
                assert told == pytest.approx(degrees, abs=0.1)
            gateway.wait_for("air", "not_connected", after=len(gateway.samples))
            (status,) = gateway.status()
            assert status["fault"]["code"] in ("link.lost", "link.missing")
