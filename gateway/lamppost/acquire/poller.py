"""One coroutine a Modbus bus: read what is due, turn answers into samples, and failures into bad readings."""

from __future__ import annotations

from collections.abc import Sequence

from lamppost.acquire.device import Device
from lamppost.acquire.groups import Group, MapDevice, Part
from lamppost.acquire.health import WHOLE_PATIENCE_EVERY, ProbeBudget, State
from lamppost.acquire.outcome import Finished, ask, step
from lamppost.acquire.port import Port
from lamppost.acquire.report import BusStatus
from lamppost.acquire.schedule import Schedule
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.faults import CorruptError, RefusedError, corrupt
from lamppost.links.modbus_link import ModbusLink
from lamppost.model import Quality, Reading
from lamppost.quality.codes import quality
from lamppost_drivers.contract import Discovery, ReadRegisters, RegisterMap, Values

_NO_RESPONSE = quality("no_response")
_NOT_CONNECTED = quality("not_connected")
_NOT_AVAILABLE = quality("not_available")
_DEVICE_FAULT = quality("device_fault")
_CORRUPT = quality("corrupt")
_MAINTENANCE = quality("maintenance")

_UNKNOWN_ADDRESS = (2, 3)
_TARGET_SILENT = (10, 11)
_REFUSALS = {1: _NOT_AVAILABLE, 4: _DEVICE_FAULT, 5: _NOT_AVAILABLE, 6: _NOT_AVAILABLE}

_SPLITS = 8
"""New requests that refusals may cause within one beat; the rest is found out at the next."""
_MOST_STEPS = 200
"""Reads by which a device that describes itself must have done so."""
_SOON = 1.0
"""A device that is back waits for its next beat if that is so near; else it is read at once."""
_LEASE_LOOK = 0.5
_OVERDUE = 1.0
"""Seconds that a probe gives way to readings."""


class ModbusPoller:
    """Polls the units of one bus for ever. Cancel `run` to stop it; the link is closed then."""

    def __init__(
        self,
        port: Port[ModbusLink],
        devices: Sequence[MapDevice],
        clock: Clock,
        first: Sequence[float],
    ) -> None:
        """`first`: seconds from now to the first beat of each group, in the order of `devices` and their groups."""
        self.port = port
        self._devices = tuple(devices)
        self._clock = clock
        self._schedule: Schedule[Group] = Schedule()
        self._budget = ProbeBudget()
        now = clock.monotonic()
        groups = [group for found in devices for group in found.groups]
        for group, phase in zip(groups, first, strict=True):
            self._schedule.add(group, group.period, now + phase)

    def status(self) -> BusStatus:
        """The bus and its devices as they are now."""
        return self.port.status([found.device for found in self._devices])

    async def run(self) -> None:
        """Poll. A lost link or a dead device never ends it."""
        try:
            while True:
                if self._schedule.next() > self._clock.monotonic():
                    await self._clock.sleep_until(self._next())
                await self._turn()
        finally:
            self.port.close()

    # --- what is next

    def _next(self) -> float:
        port, beat = self.port, self._schedule.next()
        if port.bus.leased:
            return min(beat, self._clock.monotonic() + _LEASE_LOOK)
        if not port.is_open:
            return min(beat, port.health.next_try)
        retry = self._retry()
        return min(beat, retry[0]) if retry else beat

    def _retry(self) -> tuple[float, MapDevice] | None:
        """The silent device whose turn to be probed is next, and when that is."""
        silent = [found for found in self._devices if found.device.health.misses]
        if not silent:
            return None
        alive = any(found.device.health.state is State.OK for found in self._devices)
        free = self._budget.free(alive)

        def when(found: MapDevice) -> float:
            health = found.device.health
            return max(health.next_try, free) if health.state is State.DEAD else health.next_try

        # Of dead devices that all wait for the budget, the one that has waited longest.
        best = min(silent, key=lambda found: (when(found), found.device.health.next_try))
        return when(best), best

    async def _turn(self) -> None:
        """Do the one thing that is due most; each turn waits for something."""
        leased = self.port.bus.leased
        opened = self.port.is_open or (not leased and await self.port.try_open())
        now = self._clock.monotonic()
        retry = self._retry() if opened and not leased else None
        # A reading that is due goes first, but on an overloaded bus one always is.
        overdue = 0.0 if self._schedule.next() > now else _OVERDUE
        if retry is not None and retry[0] <= now - overdue:
            await self._probe(retry[1])
        elif (beat := self._schedule.take(now)) is not None:
            self.port.skip(beat.skipped)
            await self._beat(beat.key, now, opened, leased)

    async def _beat(self, group: Group, now: float, opened: bool, leased: bool) -> None:
        device, health = group.device, group.device.health
        if leased:
            device.give_absent(group.names, _MAINTENANCE, group.period)
        elif not opened:
            device.give_absent(group.names, _NOT_CONNECTED, group.period)
        elif health.state is State.DEAD or health.resting(now):
            device.give_absent(group.names, device.reason, group.period)
        elif not group.parts and (found := self._undiscovered(group)) is not None:
            await self._discover(found, group)
        else:
            await self._read(group, now)

    # --- one reading

    async def _read(self, group: Group, started: float) -> None:
        device, at = group.device, self._clock.now()
        group.forgive(started)
        device.polls += 1
        readings: dict[str, Reading] = {}
        todo, splits = list(group.parts), _SPLITS
        failure: Quality | None = None
        async with self.port.bus.turn:
            while todo and failure is None:
                part = todo.pop(0)
                got = await self._ask(group, part)
                if isinstance(got, RefusedError):
                    instead = group.refuse(part, started)[:splits]
                    splits -= len(instead)
                    todo[:0] = instead
                elif isinstance(got, Quality):
                    failure = got if device.health.misses or not self.port.is_open else None
                    _put(readings, device.missing(part.names, got))
                elif part.whole:
                    device.ok += 1
                    device.give(at, device.checker.check(part.names, got, started))
                    return
                else:
                    _put(readings, device.checker.check(part.names, got, started))
        if failure is None and len(readings) == len(group.names) - len(group.refused):
            device.ok += 1
        missing = _NOT_AVAILABLE if failure is None else failure
        if len(readings) < len(group.names):
            _put(readings, device.missing([n for n in group.names if n not in readings], missing))
        device.give(at, [readings[name] for name in group.names])

    async def _ask(self, group: Group, part: Part) -> Values | Quality | RefusedError:
        """One request. RefusedError only where the device does not know the address."""
        device, block = group.device, part.block
        try:
            words = await self.port.link.read(
                device.unit or 0, block.table, block.address, block.count, rest=group.rest
            )
        except RefusedError as error:
            if error.number in _UNKNOWN_ADDRESS:
                self._back(device, group)
                device.refused += 1
                return error
            return self._failed(device, error)
        except LinkError as error:
            return self._failed(device, error)
        self._back(device, group)
        return ask(device.model, part.decode, words)

    def _failed(self, device: Device, error: LinkError) -> Quality:
        """Count a failure and say how readings are marked for it. Missing devices are left alone for a while."""
        now, late = self._clock.monotonic(), self.port.link.late
        if isinstance(error, RefusedError):
            device.refused += 1
            if error.number in _TARGET_SILENT:
                device.missed(error, _NO_RESPONSE, now)
                return _NO_RESPONSE
            self._back(device)
            device.complained(error)
            return _REFUSALS.get(error.number, _DEVICE_FAULT)
        if isinstance(error, CorruptError):
            device.corrupt += 1
            rest = 0.0 if error.ended else late
            device.missed(error, _CORRUPT, now, rest, there=error.ended)
            return _CORRUPT
        if error.code == "link.no-answer":
            device.timeouts += 1
            device.missed(error, _NO_RESPONSE, now, late)
            return _NO_RESPONSE
        self.port.lost(error)
        return _NOT_CONNECTED

    def _back(self, device: Device, reading: Group | None = None) -> None:
        """A device answered; if it had been missed, what is not due soon nor being read is read at once."""
        now = self._clock.monotonic()
        self.port.worked()
        if not device.answered(now):
            return
        groups = [g for found in self._devices if found.device is device for g in found.groups]
        for group in groups:
            if group is not reading and self._schedule.due(group) - now > _SOON:
                self._schedule.hurry(group, now)

    # --- devices that describe themselves

    def _undiscovered(self, group: Group) -> MapDevice | None:
        return next((d for d in self._devices if d.discover and d.groups == (group,)), None)

    async def _discover(self, found: MapDevice, group: Group) -> None:
        """Let the device say what registers it has, and read them from then on."""
        device = found.device
        device.polls += 1
        assert found.discover is not None
        discovery = ask(device.model, found.discover)
        if not isinstance(discovery, Quality):
            async with self.port.bus.turn:
                learned = await self._play(found, discovery)
            if isinstance(learned, RegisterMap):
                device.ok += 1
                self._adopt(found, learned, group)
                return
            discovery = learned
        device.give_absent(group.names, discovery, group.period)

    async def _play(self, found: MapDevice, discovery: Discovery) -> RegisterMap | Quality:
        """Play a discovery to its end: the map, or why there is none."""
        device, words = found.device, None
        for _ in range(_MOST_STEPS):
            wish = ask(device.model, step, discovery, words)
            if isinstance(wish, Finished):
                learned: RegisterMap = wish.result
                return learned
            if not isinstance(wish, ReadRegisters):
                break
            try:
                words = await self.port.link.read(
                    device.unit or 0, "holding", wish.address, wish.count, rest=found.rest
                )
            except LinkError as error:
                if not isinstance(error, RefusedError) or error.number in _TARGET_SILENT:
                    return self._failed(device, error)
                words = None
            self._back(device)
        unknown = corrupt(
            f"{self.port.link.where}: unit {device.unit} does not describe itself", b"", ended=True
        )
        device.missed(unknown, _CORRUPT, self._clock.monotonic(), there=True)
        return _CORRUPT

    def _adopt(self, found: MapDevice, learned: RegisterMap, group: Group) -> None:
        found.adopt(learned)
        now = self._clock.monotonic()
        self._schedule.remove(group)
        for new in found.groups:
            self._schedule.add(new, new.period, now)

    # --- silent devices

    async def _probe(self, found: MapDevice) -> None:
        """Ask a silent device for as little as possible."""
        device, block = found.device, found.probe
        was, started = device.health.state, self._clock.monotonic()
        device.polls += 1
        dead = sum(each.device.health.state is State.DEAD for each in self._devices)
        async with self.port.bus.turn:
            try:
                await self.port.link.read(
                    device.unit or 0,
                    block.table,
                    block.address,
                    block.count,
                    timeout=self._patience(device, dead),
                    rest=found.rest,
                )
            except LinkError as error:
                if not isinstance(error, RefusedError) or error.number in _TARGET_SILENT:
                    self._failed(device, error)
                    if was is State.DEAD:
                        now = self._clock.monotonic()
                        self._budget.spent(now, now - started, dead)
                    return
        device.ok += 1
        self._back(device)

    def _patience(self, device: Device, dead: int) -> float | None:
        """Seconds that a probe waits; None: as long as any request."""
        health, link = device.health, self.port.link
        if health.state is not State.DEAD or health.misses % WHOLE_PATIENCE_EVERY == 0:
            return None
        return min(link.timeout, max(self._budget.patience(dead), link.usual(device.unit or 0)))


def _put(readings: dict[str, Reading], more: Sequence[Reading]) -> None:
    for reading in more:
        readings[reading.point] = reading
