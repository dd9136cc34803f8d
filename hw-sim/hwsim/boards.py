"""What hangs on the pins of a board, from a cabinet's file: I2C buses and GPIO chips, for programs under the shim.

[[i2c]]          number, clock
[[i2c.device]]   address, model (sht4x, scd4x, sps30, ads1115, answers), and its values: temperature, humidity, co2,
                 volts; answers = { "hex written" = ["hex read", ...] }
[[gpio]]         number
[[gpio.pulse]]   line, every (s), low (s), bounce
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwsim.gpio import GpioChip
from hwsim.i2c import I2cBus, I2cDevice
from hwsim.i2c_devices import Ads1115, Scd4x, Sht4x, Sps30
from hwsim.replay import I2cAnswers

CHIPS: Mapping[str, Callable[..., I2cDevice]] = {
    "sht4x": Sht4x,
    "scd4x": Scd4x,
    "sps30": Sps30,
    "ads1115": Ads1115,
    "answers": I2cAnswers,
}


class Pulser:
    """A contact that closes for `low` seconds `every` so many; `count` is how often it has."""

    def __init__(self, line: int, every: float, low: float = 0.05, bounce: int = 0) -> None:
        if not 0 < low < every:
            raise ValueError(f"pulse on line {line}: low must be shorter than every")
        self.line, self.every, self.low, self.bounce = line, every, low, bounce
        self.count = 0
        self.silent = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, chip: GpioChip) -> None:
        """Begin once a program waits for edges, as water flows whether or not somebody counts."""
        self._thread = threading.Thread(target=self._run, args=(chip,), daemon=True)
        self._thread.start()

    def _run(self, chip: GpioChip) -> None:
        while not self._ended.wait(self.every - self.low):
            if not self.silent:
                chip.pulse(self.line, self.low, bounce=self.bounce)
                self.count += 1

    def close(self) -> None:
        """The contact rests."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()


class Board:
    """The buses and chips of one board; their sockets stand in `folder` while it runs."""

    def __init__(self, plan: Mapping[str, Any], folder: Path) -> None:
        self.folder = folder
        self._i2c = [_i2c(dict(bus)) for bus in plan.get("i2c", [])]
        self._gpio = [_gpio(dict(chip)) for chip in plan.get("gpio", [])]
        self.buses: dict[str, I2cBus] = {}
        self.pulsers: dict[int, Pulser] = {p.line: p for _, pulses in self._gpio for p in pulses}
        self.chips: list[GpioChip] = []

    def __bool__(self) -> bool:
        return bool(self._i2c or self._gpio)

    @property
    def names(self) -> list[str]:
        """Of buses and chips, as an event names them: i2c-1, gpio-0."""
        return [f"i2c-{n}" for n, _, _ in self._i2c] + [f"gpio-{n}" for n, _ in self._gpio]

    def set_silent(self, name: str, unit: int, *, silent: bool) -> None:
        """A device at an address does not acknowledge, a contact rests; or again as before. Raises ValueError."""
        if name.startswith("gpio-"):
            if unit not in self.pulsers:
                raise ValueError(f"no pulses on line {unit}: there are {sorted(self.pulsers)}")
            self.pulsers[unit].silent = silent
            return
        known = next(devices for number, _, devices in self._i2c if name == f"i2c-{number}")
        if unit not in known:
            raise ValueError(f"no device {unit:#04x} on {name}")
        there = {at: device for at, device in self.buses[name].devices.items() if at != unit}
        self.buses[name].devices = there if silent else there | {unit: known[unit]}

    def start(self) -> None:
        """Create the device nodes and let the contacts pulse."""
        if self:
            self.folder.mkdir(parents=True, exist_ok=True)
        for number, clock, devices in self._i2c:
            bus = I2cBus(self.folder, number, clock=clock)
            bus.devices = dict(devices)
            self.buses[f"i2c-{number}"] = bus
        for number, pulses in self._gpio:
            chip = GpioChip(self.folder, number)
            self.chips.append(chip)
            for pulse in pulses:
                pulse.start(chip)

    def close(self) -> None:
        """Take everything away."""
        for pulse in self.pulsers.values():
            pulse.close()
        for bus in self.buses.values():
            bus.close()
        for chip in self.chips:
            chip.close()


def _i2c(plan: dict[str, Any]) -> tuple[int, int, dict[int, I2cDevice]]:
    devices = {}
    for given in plan.get("device", []):
        device = dict(given)
        model, address = device.pop("model"), int(device.pop("address"))
        if model not in CHIPS:
            raise ValueError(f"i2c model {model!r}: there are {', '.join(CHIPS)}")
        devices[address] = CHIPS[model](**device)
    return int(plan.get("number", 1)), int(plan.get("clock", 0)), devices


def _gpio(plan: dict[str, Any]) -> tuple[int, list[Pulser]]:
    return int(plan.get("number", 0)), [Pulser(**pulse) for pulse in plan.get("pulse", [])]
