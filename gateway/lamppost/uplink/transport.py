"""What the sender asks of a connection to the broker: narrow, so that a test's broker is one small object."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class Ack(enum.Enum):
    """What the broker said about a message it took. Never a receipt: the hub may not have seen it."""

    TAKEN = "taken"
    NOBODY = "nobody"  # taken, but nobody is subscribed (MQTT 5 reason code 0x10)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the broker: whoever controls the broker wrote it."""

    topic: str
    payload: bytes


class Transport(Protocol):
    """One connection after another to one broker; `connect` and `close` alternate."""

    async def connect(self) -> None:
        """Open a connection and subscribe to the down topic.

        Raises HubError or TrustError with one of the codes in `faults`.
        """
        ...

    def publish(self, topic: str, payload: bytes, *, urgent: bool = False) -> asyncio.Future[Ack]:
        """Hand a message over at once, in call order, urgent ones before all that still waits here.

        The future ends when the broker has answered.

        The future raises HubError: `uplink.not-authorised`, `uplink.too-big`, `uplink.lost`.
        """
        ...

    def messages(self) -> AsyncIterator[Incoming]:
        """Messages as they come; raises HubError or TrustError the moment the connection is lost."""
        ...

    async def close(self) -> None:
        """End the connection if there is one; never raises."""
        ...
