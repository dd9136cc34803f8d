"""The receiver's side of a broker, as an interface: what mqtt.py implements and the tests' fake too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came; `mark` is what the session needs to acknowledge it."""

    topic: str
    payload: bytes
    mark: int = 0


class Session(Protocol):
    """One connection, subscribed. Every method raises HubError (`hub.broker-lost`) once it is gone."""

    async def receive(self, limit: int) -> list[Incoming]:
        """At least one message and at most `limit`: all that is there, in the order of arrival."""
        ...

    async def send(self, topic: str, payload: bytes) -> None:
        """Hand a message to the broker; waits only while too many are unacknowledged."""
        ...

    def done(self, messages: Sequence[Incoming]) -> None:
        """Acknowledge: the broker may forget these and send others."""
        ...

    async def close(self) -> None:
        """Leave; never raises."""
        ...


class Broker(Protocol):
    """Where sessions come from."""

    async def connect(self) -> Session:
        """Connect and subscribe. Raises HubError or TrustError with a code `hub.…`, all with `retry` set."""
        ...
