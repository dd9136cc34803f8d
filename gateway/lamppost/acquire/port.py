"""The link of a poller: opened late, reopened with growing pauses when lost, never a reason to stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from lamppost.acquire.device import Device
from lamppost.acquire.health import PORT, Health
from lamppost.acquire.report import NO_FAULT, BusStatus, Fault, instant, next_try
from lamppost.clock import Clock
from lamppost.errors import LinkError
from lamppost.links.bus import Bus

_log = logging.getLogger(__name__)
_RECENT = 60.0


class Opens(Protocol):
    """What every link does."""

    stray: int

    @property
    def where(self) -> str:
        """The port or address, for people."""
        ...

    async def open(self) -> None:
        """Open it; harmless if it is open. Raises LinkError."""
        ...

    def close(self) -> None:
        """Close it; harmless if it is closed."""
        ...


Link = TypeVar("Link", bound=Opens)


class Port(Generic[Link]):
    """A bus, whether its link is open, and when to try again."""

    def __init__(self, name: str, kind: str, link: Link, clock: Clock) -> None:
        self.name = name
        self.bus = Bus(link)
        self.health = Health(PORT, clock.monotonic())
        self.is_open = False
        self.skipped = 0
        self.kind = kind
        self._clock = clock
        self._fault = NO_FAULT
        self._opened = 0
        self._losses = 0  # in a row, with not one answer between them
        self._behind_until = 0.0

    @property
    def link(self) -> Link:
        """The link itself; only for whoever holds `bus.turn`."""
        return self.bus.link

    async def try_open(self) -> bool:
        """Open the link unless it rests after a failure. Returns whether it is open."""
        if self.is_open or self.health.resting(self._clock.monotonic()):
            return self.is_open
        try:
            async with self.bus.turn:
                await self.link.open()
        except LinkError as error:
            if error.code != self._fault.code:
                _log.warning("link %s: %s [%s] %s", self.name, error, error.code, error.hint)
            self._failed(error)
            return False
        self.is_open = True
        self._opened += 1
        self.health.answered(self._clock.monotonic())
        self._fault = NO_FAULT
        return True

    def worked(self) -> None:
        """Something was received over it."""
        if self._losses:
            self._losses = 0
            _log.info("link %s: works again", self.name)

    def lost(self, error: LinkError) -> None:
        """It failed while in use. Where it opens but never works, the pauses grow too."""
        self._losses += 1
        if self._losses == 1:
            _log.warning("link %s: %s [%s]", self.name, error, error.code)
        self._failed(error, PORT.after(self._losses))

    def close(self) -> None:
        """Close the link for good."""
        self.is_open = False
        self.link.close()

    def skip(self, beats: int) -> None:
        """So many beats were too late to be read."""
        if beats and self.is_open:
            self.skipped += beats
            self._behind_until = self._clock.monotonic() + _RECENT

    def status(self, devices: Sequence[Device]) -> BusStatus:
        """As it is now."""
        return BusStatus(
            self.name,
            self.kind,
            self.link.where,
            self.health.state,
            instant(self._clock, self.health.since),
            next_try(self._clock, self.health),
            self._fault,
            self.bus.leased,
            self._clock.monotonic() < self._behind_until,
            self.skipped,
            self.link.stray,
            self._opened,
            tuple(device.status() for device in devices),
        )

    def _failed(self, error: LinkError, rest: float = 0.0) -> None:
        self.is_open = False
        self.link.close()
        self._fault = Fault.of(error)
        self.health.missed(self._clock.monotonic(), rest)
