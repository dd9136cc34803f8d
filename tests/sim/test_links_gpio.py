"""Pulse counters from the site file to the samples: real rpi-lgpio on a simulated chip, bounces, kills, power cuts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lgpio")

from fakes.acquiring import Acquiring
from hwsim.gpio import GpioChip
from hwsim.preload import PreloadError, environment, library

try:
    library()
except PreloadError as error:
    pytest.skip(str(error), allow_module_level=True)

LINK = '[[link]]\nname = "pins"\nkind = "gpio"\nsave = "1s"\n'
BOARD = {"RPI_LGPIO_REVISION": "c03114", "RPI_LGPIO_CHIP": "0"}


def device(name: str, model: str, pin: int, more: str = "", every: str = "250ms") -> str:
    return (
        f'[[device]]\nname = "{name}"\nmodel = "{model}"\nlink = "pins"\npin = {pin}\n'
        f'every = "{every}"\n{more}\n'
    )


@pytest.fixture()
def chip(tmp_path: Path) -> Iterator[GpioChip]:
    with GpioChip(tmp_path / "dev") as made:
        yield made


def acquiring(tmp_path: Path, chip: GpioChip, *devices: str, pin: int = 17) -> Acquiring:
    env = environment(tmp_path / "dev") | BOARD
    gateway = Acquiring(tmp_path, LINK + "".join(devices), env)
    deadline = time.monotonic() + 20
    while not chip.watched(pin):
        if time.monotonic() > deadline:
            said = gateway.said()
            gateway.kill()
            pytest.fail(said)
        time.sleep(0.01)
    return gateway


def total(gateway: Acquiring, name: str, point: str = "volume") -> Any:
    samples = gateway.of(name)
    return samples[-1]["values"][point] if samples else None


def kept(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "state" / "counts-pins.json").read_bytes())["counts"]


WATER = device("water", "water-pulse-10l", 17, 'debounce = "5ms"')


def test_500_pulses_that_bounce_with_a_kill_in_between(tmp_path: Path, chip: GpioChip) -> None:
    """On two pins at a time. Contacts bounce when they close and when they open, ten times a second by the kernel's
    clock; its edges are told faster than that, so that the test does not take as long and no slow machine matters.
    """
    both = (WATER, device("gas", "gas-pulse-10l", 18, 'debounce = "5ms"'))
    last = 0

    def turn(count: int) -> None:
        nonlocal last
        half = 50_000_000
        while (at := time.monotonic_ns() - 2 * half * count) < last:
            time.sleep(0.05)
        for _ in range(count):
            for level in (0, 1):
                for pin in (17, 18):
                    for bounce in range(7):
                        chip.set(pin, level ^ bounce % 2, at + bounce * 300_000)
                at += half
                while chip.unread() > 65536:  # of the 200 kB that the socket holds
                    time.sleep(0.001)
        last = at

    def counted() -> list[float]:
        gas, water = total(gateway, "gas", "gas.volume"), total(gateway, "water")
        return [round(gas or 0.0, 4), round(water or 0.0, 4)]

    with acquiring(tmp_path, chip, *both, pin=18) as gateway:
        turn(100)
        gateway.wait(lambda: counted() == [1.0, 1.0], "1 m3 each")
        gateway.kill()
    last = 0
    with acquiring(tmp_path, chip, *both, pin=18) as gateway:
        turn(150)
        gateway.wait(lambda: counted() == [2.5, 2.5], "2.5 m3 each")
        assert {s["reasons"]["volume"] for s in gateway.of("water")} == {"good"}
        turn(7)  # a stop saves what was not yet
        time.sleep(0.3)
    assert [each["pulses"] for each in kept(tmp_path).values()] == [257, 257]
    assert chip.lost() == 0


def test_a_total_that_was_delivered_never_steps_back(tmp_path: Path, chip: GpioChip) -> None:
    """Killed at any moment while it counts: what was delivered is durable, and at most a second is lost."""
    done = threading.Event()
    turned = 0

    def world() -> None:
        nonlocal turned
        while not done.is_set():
            chip.pulse(17, 0.015)
            turned += 1
            time.sleep(0.015)

    def life(began_at: float) -> float:
        """Run, count for a while, be killed; returns the newest total that was delivered."""
        gateway = acquiring(tmp_path, chip, WATER)
        try:
            start = turned
            gateway.wait(lambda: len(gateway.of("water")) >= 7)
        finally:
            passed = turned - start
            gateway.kill()
        totals = [s["values"]["volume"] for s in gateway.of("water")]
        assert totals == sorted(totals)
        assert totals[0] >= began_at - 1e-9
        saved = kept(tmp_path)["water"]["pulses"] / 100
        assert saved >= totals[-1] - 1e-9
        assert saved - began_at >= passed / 100 - 1.5  # of 1 m3 a second, at most
        return float(totals[-1])

    thread = threading.Thread(target=world)
    thread.start()
    try:
        first = life(0.0)
        assert life(first) > first > 0
    finally:
        done.set()
        thread.join()


def test_rates_and_what_a_pulse_is_worth(tmp_path: Path, chip: GpioChip) -> None:
    done = threading.Event()

    def world() -> None:
        while not done.wait(0.02):
            chip.pulse(5, 0.02)

    with acquiring(
        tmp_path,
        chip,
        device("hall", "yf-s201", 5, every="500ms"),
        device("power", "s0-1000", 6, 'per_pulse = "0.5 Wh"'),
        device("held", "s0-1000", 7),
        pin=5,
    ) as gateway:
        thread = threading.Thread(target=world)
        thread.start()
        gateway.wait(lambda: sum(s["reasons"]["flow"] == "good" for s in gateway.of("hall")) >= 4)
        done.set()
        thread.join()
        flows = [s["values"]["flow"] for s in gateway.of("hall") if s["values"]["flow"]]
        chip.pulse(6, 0.06)
        gateway.wait(lambda: total(gateway, "power", "energy.import"))
        assert total(gateway, "power", "energy.import") == pytest.approx(0.0005)
        gateway.wait(lambda: total(gateway, "hall", "flow") == 0, "a flow that stops is 0")
    # 25 Hz at most, slower on a busy machine: 60 / 450 l/min for each hertz
    assert 0.5 < max(flows) < 25 * 60 / 450 * 1.3
    assert total(gateway, "power", "power") is None


def test_a_pin_that_is_held_is_alone_with_it(tmp_path: Path, chip: GpioChip) -> None:
    other = acquiring(tmp_path, chip, device("other", "s0-1000", 7), pin=7)
    try:
        folder = tmp_path / "second"
        folder.mkdir()
        site = LINK + device("held", "s0-1000", 7) + device("free", "s0-1000", 6)
        with Acquiring(folder, site, environment(tmp_path / "dev") | BOARD) as gateway:
            gateway.wait_for("held", "not_connected")
            gateway.wait(lambda: gateway.of("free"))
            (status,) = gateway.status()
            assert status["devices"][0]["fault"]["code"] == "link.busy"
            assert "GPIO7" in status["devices"][0]["fault"]["hint"]
            assert {s["reasons"]["energy.import"] for s in gateway.of("free")} == {"good"}
            other.kill()
            gateway.wait(
                lambda: any(s["reasons"]["energy.import"] == "good" for s in gateway.of("held"))
            )
    finally:
        other.kill()


def test_no_chip_is_not_connected(tmp_path: Path) -> None:
    env = environment(tmp_path / "dev") | BOARD
    with Acquiring(tmp_path, LINK + WATER, env) as gateway:
        gateway.wait_for("water", "not_connected")
        (status,) = gateway.status()
        assert status["fault"]["code"] == "link.missing"
        with GpioChip(tmp_path / "dev") as chip:
            gateway.wait(lambda: total(gateway, "water") == 0.0, "the chip is found")
            chip.pulse(17, 0.01)
            gateway.wait(lambda: total(gateway, "water") == pytest.approx(0.01))
