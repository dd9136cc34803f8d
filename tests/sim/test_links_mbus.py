"""Wired M-Bus from the site file to the samples: real pyserial with parity, a simulated line, bad meters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.acquiring import Acquiring
from hwsim.line import Line
from hwsim.mbus import MBusMeter, long
from hwsim.preload import PreloadError, environment, library

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)


def meter(number: str, litres: int, address: int, **how: bool) -> MBusMeter:
    """A water meter of DIEHL's kind: header with its number, one record in litres."""
    header = bytes.fromhex(number)[::-1] + bytes.fromhex("2423 01 07 55 00 0000")
    frame = long(0x08, address, 0x72, header + b"\x04\x13" + litres.to_bytes(4, "little"))
    made = MBusMeter([frame])
    for name, value in how.items():
        setattr(made, name, value)
    return made


def device(name: str, more: str, every: str = "1s") -> str:
    return (
        f'[[device]]\nname = "{name}"\nmodel = "mbus-water"\nlink = "mbus"\nevery = "{every}"\n'
        f'points = ["volume"]\n{more}\n'
    )


def acquiring(tmp_path: Path, more: str, *devices: str) -> Acquiring:
    link = f'[[link]]\nname = "mbus"\nkind = "mbus"\nport = "{tmp_path}/bus"\n{more}\n'
    return Acquiring(tmp_path, link + "".join(devices), environment())


def test_primary_and_secondary_addresses_at_2400_8e1(tmp_path: Path) -> None:
    meters = [
        meter("11111111", 12_565, 1),
        meter("22222222", 3_000, 0),
        meter("00033333", 4_500, 0),
    ]
    with (
        Line(tmp_path / "bus", 2400, form="8E1", devices=meters) as line,
        acquiring(
            tmp_path,
            "",
            device("primary", "unit = 1", "2s"),
            device("second", 'secondary = "22222222"', "2s"),
            device("third", 'secondary = "00033333"', "2s"),
        ) as gateway,
    ):
        for name in ("primary", "second", "third"):
            gateway.wait_for(name, "good")
        found = [gateway.newest(name)["volume"] for name in ("primary", "second", "third")]
        stats = line.stats()
    assert found == [12.565, 3.0, 4.5]
    assert stats.collisions == 0


def test_bad_meters_do_not_hurt_the_good_one(tmp_path: Path) -> None:
    meters = [
        meter("11111111", 12_565, 1),
        meter("22222222", 1, 2, wrong_sum_every=True),
        meter("33333333", 2, 3, dead=True),
        meter("44444444", 3, 4),
        meter("55555555", 4, 4),  # two at one address: both answer at once
    ]
    with (
        Line(tmp_path / "bus", 9600, form="8E1", devices=meters) as line,
        acquiring(
            tmp_path,
            "baud = 9600",
            *(device(f"m{unit}", f"unit = {unit}") for unit in (1, 2, 3, 4)),
            device("nobody", 'secondary = "99999999"'),
        ) as gateway,
    ):
        gateway.wait_for("m2", "corrupt")
        gateway.wait_for("m3", "no_response")
        gateway.wait_for("m4", "corrupt")
        gateway.wait_for("nobody", "no_response")
        gateway.wait(lambda: gateway.reasons("m1")["good"] >= 3)
        (status,) = gateway.status()
        assert line.stats().collisions > 0
        meters[2].dead = False
        gateway.wait_for("m3", "good")
    assert set(gateway.reasons("m1")) == {"good"}
    assert {s["values"]["volume"] for s in gateway.of("m1")} == {12.565}
    for name in ("m2", "m4", "nobody"):
        assert {s["values"]["volume"] for s in gateway.of(name)} == {None}, name
    assert set(gateway.reasons("m4")) <= {"corrupt", "no_response"}
    assert status["devices"][2]["fault"]["code"] == "link.no-answer"
    assert status["opened"] == 1


def test_the_converter_is_unplugged_and_back(tmp_path: Path) -> None:
    with (
        Line(tmp_path / "bus", 9600, form="8E1", devices=[meter("11111111", 500, 1)]) as line,
        acquiring(tmp_path, "baud = 9600", device("m1", "unit = 1")) as gateway,
    ):
        gateway.wait_for("m1", "good")
        line.unplug()
        gateway.wait_for("m1", "not_connected")
        line.plug()
        gateway.wait_for("m1", "good", after=len(gateway.samples))


def test_noise_on_the_line_is_corrupt_and_never_a_value(tmp_path: Path) -> None:
    noisy = Line(
        tmp_path / "bus", 9600, form="8E1", devices=[meter("11111111", 500, 1)], bit_error_rate=0.02
    )
    with noisy, acquiring(tmp_path, "baud = 9600", device("m1", "unit = 1", "300ms")) as gateway:
        gateway.wait(lambda: len(gateway.of("m1")) >= 6)
    assert {s["values"]["volume"] for s in gateway.of("m1")} <= {None, 0.5}
    assert gateway.reasons("m1")["corrupt"] + gateway.reasons("m1")["no_response"] > 0
