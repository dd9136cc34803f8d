"""Bluetooth sensors of a cabinet, heard by unchanged bleak over a private bus: `DBUS_SYSTEM_BUS_ADDRESS` leads to it.

[[ble]]          name
[[ble.sensor]]   address, every (s), rssi, model: ruuvi (temperature, humidity, pressure, seed) or packets, with
                 manufacturer = { 0x0499 = ["hex", ...] } and service = { "uuid" = ["hex", ...] } in turn
"""

from __future__ import annotations

import math
import random
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsim.ble import Advertisement, Bluez, PrivateBus

RUUVI = 0x0499
_LOOK = 0.05
Payloads = tuple[Mapping[int, bytes], Mapping[str, bytes]]


class RuuviTag:
    """Data format 5 (docs.ruuvi.com): weather that drifts slowly, a sequence number with each packet."""

    def __init__(
        self, *, temperature: float = 12.0, humidity: float = 70.0, pressure: float = 101_325.0, seed: int = 0
    ) -> None:  # fmt: skip
        self._weather = temperature, humidity, pressure
        self._phase = random.Random(seed).uniform(0, math.tau)
        self._mac = bytes(6)
        self._count = 0

    def truth(self, now: float) -> tuple[float, float, float]:
        """Cel, %RH, Pa at a moment."""
        swing = math.sin(now / 300 + self._phase)
        temperature, humidity, pressure = self._weather
        return temperature + swing, humidity - 3 * swing, pressure + 20 * swing

    def payloads(self, now: float) -> Payloads:
        """What the next packet holds."""
        temperature, humidity, pressure = self.truth(now)
        self._count = (self._count + 1) & 0xFFFF
        words = (round(temperature * 200), round(humidity * 400), round(pressure) - 50_000)
        battery_and_power = (2900 - 1600) << 5 | (4 + 40) // 2
        data = struct.pack(">BhHHhhhHBH", 5, *words, 4, -4, 1036, battery_and_power, 0, self._count)
        return {RUUVI: data + self._mac}, {}


class Packets:
    """Given payloads in turn."""

    def __init__(
        self, *, manufacturer: Mapping[str, Sequence[str]] | None = None,
        service: Mapping[str, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self._manufacturer = {
            int(key, 0): _bytes(each) for key, each in (manufacturer or {}).items()
        }
        self._service = {key: _bytes(each) for key, each in (service or {}).items()}
        self._count = -1

    def payloads(self, now: float) -> Payloads:
        """What the next packet holds."""
        del now
        self._count += 1
        n = self._count
        return (
            {key: each[n % len(each)] for key, each in self._manufacturer.items()},
            {key: each[n % len(each)] for key, each in self._service.items()},
        )


def _bytes(texts: Sequence[str]) -> list[bytes]:
    found = [bytes.fromhex(text) for text in texts]
    if not found:
        raise ValueError("a list of payloads is empty")
    return found


MODELS: Mapping[str, Callable[..., RuuviTag | Packets]] = {"ruuvi": RuuviTag, "packets": Packets}


class Sensor:
    """One that advertises; `silent` is set by a test."""

    def __init__(
        self, address: str, model: str, every: float = 1.0, rssi: int = -60, **how: Any
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"ble model {model!r}: there are {', '.join(MODELS)}")
        self.address, self.every, self.rssi = address.upper(), every, rssi
        self.silent = False
        self._model = MODELS[model](**how)

    def packet(self, now: float) -> Advertisement:
        """The packet of this moment."""
        manufacturer, service = self._model.payloads(now)
        return Advertisement(self.address, self.rssi, manufacturer=manufacturer, service=service)


class Radio:
    """A bus with bluetoothd on it, and sensors that advertise while a program scans."""

    def __init__(self, folder: Path, sensors: Sequence[Mapping[str, Any]]) -> None:
        self.sensors = {each.address: each for each in (Sensor(**plan) for plan in sensors)}
        self._folder = folder
        self._bus: PrivateBus | None = None
        self._bluez: Bluez | None = None
        self._alive = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="radio", daemon=True)

    @property
    def address(self) -> str:
        """Of the bus; empty before `start`."""
        return self._bus.address if self._bus else ""

    def start(self) -> None:
        """Start bus, bluetoothd and sensors. Raises ble_bus.BusError without a dbus-daemon."""
        self._bus = PrivateBus(self._folder)
        self._bluez = Bluez(self._bus.address)
        self._thread.start()

    def close(self) -> None:
        """End them."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bluez:
            self._bluez.close()
        if self._bus:
            self._bus.close()

    def unplug(self) -> None:
        """Let bluetoothd die."""
        assert self._bluez is not None
        self._alive.acquire()
        self._bluez.crash()

    def plug(self) -> None:
        """It comes back."""
        assert self._bluez is not None
        self._bluez.restart()
        self._alive.release()

    def power(self, on: bool) -> None:
        """Switch the adapter on or off, as rfkill does."""
        assert self._bluez is not None
        self._bluez.power(on)

    def _run(self) -> None:
        due = dict.fromkeys(self.sensors, time.monotonic())
        while not self._ended.wait(_LOOK):
            if not self._alive.acquire(blocking=False):
                continue
            try:
                self._advertise(due, time.monotonic())
            finally:
                self._alive.release()

    def _advertise(self, due: dict[str, float], now: float) -> None:
        assert self._bluez is not None
        for address, sensor in self.sensors.items():
            if now >= due[address]:
                due[address] = max(due[address] + sensor.every, now)
                if not sensor.silent:
                    self._bluez.advertise(sensor.packet(now))
