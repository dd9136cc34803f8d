"""The streams of batches that share one connection, each with its own window: alerts first, then readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamppost.envelope.seal import is_alert
from lamppost.model import Batch
from lamppost.uplink.window import Window


class Outbox(Protocol):
    """The two things the sender asks of a ring; neither may block for long (ring.offloop)."""

    def held(self) -> Sequence[Batch]:
        """Sealed batches without a verified receipt, in order of seq."""
        ...

    def settle(self, epoch: str, seq: int) -> bool:
        """The receipt for this batch is verified."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream: where its batches are held, where they are published, and which are in flight."""

    topic: str
    outbox: Outbox
    window: Window
    urgent: bool


class Lanes:
    """The lanes in the order in which they may send."""

    def __init__(self, readings: Lane, alerts: Lane | None) -> None:
        self.readings = readings
        self.alerts = alerts

    def __iter__(self) -> Iterator[Lane]:
        if self.alerts is not None:
            yield self.alerts
        yield self.readings

    def of(self, epoch: str) -> Lane:
        """The lane of an epoch, or of the name of a stream in its place."""
        return self.alerts if self.alerts is not None and is_alert(epoch) else self.readings

    def find(self, epoch: str, seq: int) -> Batch | None:
        """The unsettled batch of that name."""
        return self.of(epoch).window.find(epoch, seq)

    def held(self) -> int:
        """Batches of all lanes without a verified receipt."""
        return sum(len(lane.outbox.held()) for lane in self)

    @property
    def unacknowledged(self) -> int:
        """Batches that the broker has not taken yet."""
        return sum(lane.window.unacknowledged for lane in self)
