"""Serial ports of virtual time: the links' own code on `hwsim.wire.Wire`, without a terminal and without waiting.

`Ports(clock)` holds lines by path; `ports.install(monkeypatch)` puts them in place of what `links.serial.SerialPort`
opens. What remains untried here is pyserial and the terminal: tests/sim does that in real time.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fakes.virtual_clock import VirtualClock
from hwsim.device import Device
from hwsim.line import Line
from hwsim.wire import Wire
from lamppost.links import faults, rtu, serial
from lamppost.links.holder import LOCKS
from lamppost.links.serial import LineSettings

_LONGEST_NAP = 1.0


class VirtualLine:
    """A segment with its devices, and whether its adapter is there."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.plugged = True

    def unplug(self) -> None:
        """The adapter is pulled out."""
        self.plugged = False
        self.wire.clear()

    def plug(self) -> None:
        """And put back."""
        self.plugged = True


class CabinetLine(Line):
    """The same as a line of a `hwsim.cabinet.Cabinet`: whatever its script does happens here, without a terminal."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.wire = self._wire
        self.plugged = True

    def unplug(self) -> None:
        """The adapter is pulled out."""
        self.plugged = False
        self.wire.clear()

    def plug(self) -> None:
        """And put back."""
        self.plugged = True


class VirtualPort:
    """Stands in for an open `links.serial.SerialPort`."""

    def __init__(
        self, line: VirtualLine | CabinetLine, path: Path, how: LineSettings, clock: VirtualClock
    ) -> None:
        self.path = path
        self.line = how
        self.heard = 0
        self._on = line
        self._clock = clock
        line.wire.driver_form = f"{how.data_bits}{how.parity}{how.stop_bits}"
        line.wire.step(clock.monotonic(), None)  # what came while nobody listened is lost

    def close(self) -> None:
        self._on.wire.step(self._clock.monotonic(), None)

    async def send(self, data: bytes) -> int:
        self._there()
        await asyncio.sleep(0)
        now = self._clock.monotonic()
        self._on.wire.driver_wrote(data, now, self.line.baud)
        return round(now * 1e9) + len(data) * self.line.character

    async def receive(self, deadline: int) -> bytes:
        while not (data := self.drain()):
            now = self._clock.monotonic()
            if now * 1e9 >= deadline:
                return b""
            soon = self._on.wire.deadline() or now + _LONGEST_NAP
            wake = min(deadline / 1e9, max(soon, now + 1e-5), now + _LONGEST_NAP)
            await self._clock.sleep_until(wake + 1e-9)
        return data

    async def gather(self, deadline: int, gap: int, count: int = 0) -> bytes:
        data = await self.receive(deadline)
        while data and len(data) < (count or 4096):
            more = await self.receive(round(self._clock.monotonic() * 1e9) + gap)
            if not more:
                break
            data += more
        return data

    def drain(self) -> bytes:
        self._there()
        data = self._on.wire.step(self._clock.monotonic(), self.line.baud)
        if data:
            self.heard = round(self._clock.monotonic() * 1e9)
        return data

    async def until(self, ns: int) -> None:
        await self._clock.sleep_until(ns / 1e9)

    def _there(self) -> None:
        if not self._on.plugged:
            raise faults.lost(str(self.path))


class Ports:
    """The lines of a machine, by the path of their ports."""

    def __init__(self, clock: VirtualClock) -> None:
        self.lines: dict[Path, VirtualLine | CabinetLine] = {}
        self._clock = clock

    def add(self, path: Path, wire: Wire, *devices: Device) -> VirtualLine:
        """A line with these devices on it."""
        for device in devices:
            wire.attach(device, self._clock.monotonic())
        self.lines[path] = line = VirtualLine(wire)
        return line

    def put(self, line: CabinetLine) -> None:
        """A line of a cabinet; its devices get power now."""
        for device in line.devices:
            line.wire.attach(device, self._clock.monotonic())
        self.lines[line.path] = line

    def open(self, path: Path, how: LineSettings, *, locks: Path = LOCKS) -> VirtualPort:
        """See `SerialPort.open`."""
        del locks
        line = self.lines.get(path)
        if line is None or not line.plugged:
            raise faults.cannot_open(path, FileNotFoundError(2, "No such file or directory"), "")
        return VirtualPort(line, path, how, self._clock)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """From now on links open these ports, and read this clock."""
        patch.setattr(serial.SerialPort, "open", self.open)
        for module in (serial, rtu):
            patch.setattr(module, "monotonic_ns", lambda: round(self._clock.monotonic() * 1e9))
