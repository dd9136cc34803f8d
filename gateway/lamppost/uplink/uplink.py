"""The uplink assembled: what the daemon starts, wakes, asks and drains."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from lamppost.clock import Clock
from lamppost.envelope.heartbeat import topic_of_state
from lamppost.envelope.public import PublicKey
from lamppost.uplink.budget import Thrift, Uncounted
from lamppost.uplink.faults import hint_for
from lamppost.uplink.lanes import Outbox
from lamppost.uplink.mqtt import BrokerAddress, MqttTransport
from lamppost.uplink.receipts import Receipts
from lamppost.uplink.sender import Meter, Sender
from lamppost.uplink.session import Session
from lamppost.uplink.state import UplinkState, UplinkStatus
from lamppost.uplink.tls import TlsFiles
from lamppost.uplink.transport import Transport
from lamppost.uplink.window import PASSING

KEEPALIVE = 15  # seconds
THRIFTY_KEEPALIVE = 60  # where the bytes of a month are limited: a PING and its answer cost 300


class Settings(Protocol):
    """The site's [uplink] table; times in seconds."""

    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def in_flight(self) -> int: ...  # noqa: D102
    @property
    def receipt_timeout(self) -> float: ...  # noqa: D102


class EnrolledAs(Protocol):
    """What the uplink needs of `envelope.identity.Identity`."""

    @property
    def gateway(self) -> str: ...  # noqa: D102
    @property
    def hub_signing(self) -> Mapping[bytes, PublicKey]: ...  # noqa: D102
    @property
    def tls_certificate(self) -> Path: ...  # noqa: D102
    @property
    def tls_key(self) -> Path: ...  # noqa: D102
    @property
    def server_ca(self) -> Path: ...  # noqa: D102


class Uplink:
    """Sends what the ring holds and settles it by verified receipts.

    `alerts` is a second outbox, whose batches go first. `meter` counts and limits the bytes of a month.
    `transport` is for tests; without it the broker of `settings` is spoken to.
    """

    def __init__(
        self,
        settings: Settings,
        identity: EnrolledAs,
        outbox: Outbox,
        clock: Clock,
        *,
        alerts: Outbox | None = None,
        meter: Meter | None = None,
        on_nudge: Callable[[str], None] = lambda code: None,
        transport: Transport | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._gateway = identity.gateway
        self._meter = meter = meter or Uncounted()
        keepalive = THRIFTY_KEEPALIVE if meter.monthly is not None else KEEPALIVE
        self._receipts = Receipts(identity.gateway, identity.hub_signing)
        self._session = Session(transport or _broker(settings, identity, keepalive), clock, chance)
        self._sender = Sender(
            identity.gateway,
            outbox,
            self._receipts,
            clock,
            in_flight=settings.in_flight,
            receipt_timeout=settings.receipt_timeout,
            meter=meter,
            keepalive=keepalive,
            alerts=alerts,
            on_receipt=self._session.proved,
            on_nudge=on_nudge,
        )

    async def run(self) -> NoReturn:
        """Connect, send, reconnect, until cancelled."""
        await self._session.run(self._sender.serve)

    def notify(self) -> None:
        """A new batch was held."""
        self._sender.notify()

    def tell_state(self, message: bytes) -> bool:
        """Publish a heartbeat; False where it cannot go now, or must not (the month's bytes are used up)."""
        if not self.connected or self._sender.thrift is Thrift.ALERTS_ONLY:
            return False
        self._sender.tell(topic_of_state(self._gateway), message)
        return True

    def adopt(self, hub_signing: Mapping[bytes, PublicKey]) -> None:
        """A new bundle was installed: take the hub's keys from it, the certificate with the next connection."""
        self._receipts.adopt(hub_signing)
        self._session.hurry()

    async def drained(self, deadline: float) -> bool:
        """Wait until every held batch is settled, at most until `deadline` (clock.monotonic()); True if so."""
        return await self._sender.drained(deadline)

    @property
    def connected(self) -> bool:
        """Whether a connection stands, whatever the hub says of the readings."""
        return self._session.state is UplinkState.CONNECTED

    @property
    def batch_readings(self) -> int:
        """How many readings a batch of a backlog should hold on this line."""
        return self._sender.pace.readings

    @property
    def thrift(self) -> Thrift:
        """What gives way to the month's budget."""
        return self._sender.thrift

    def status(self) -> UplinkStatus:
        """A snapshot; cheap."""
        alerts = self._sender.lanes.alerts
        session, sender, counts = self._session, self._sender, self._receipts.counts
        state, code, message = self._standing()
        return UplinkStatus(
            state=state,
            since=session.since,
            code=code,
            message=message,
            hint=hint_for(code),
            next_try=session.next_try,
            connections=session.connections,
            held=len(sender.lanes.readings.outbox.held()),
            in_flight=sender.window.in_flight,
            batches_sent=sender.sent.batches,
            batches_resent=sender.sent.again,
            bytes_sent=sender.sent.bytes,
            receipts_verified=counts.verified,
            receipts_foreign=counts.foreign,
            receipts_bad=counts.bad,
            last_bad=counts.last_bad,
            batches_refused=sender.sent.refused,
            last_refusal=sender.sent.last_refusal,
            last_receipt=sender.sent.last_receipt,
            alerts_held=len(alerts.outbox.held()) if alerts else 0,
            alerts_sent=sender.sent.alerts,
            month_bytes=self._meter.spent,
            month_budget=self._meter.monthly,
            thrift=sender.thrift.value,
            batch_readings=sender.pace.readings,
        )

    def _standing(self) -> tuple[UplinkState, str | None, str]:
        """The session's state, unless it is connected and the hub behind the broker is the trouble."""
        session, window = self._session, self._sender.window
        if session.state is not UplinkState.CONNECTED:
            code = session.why.code if session.why else None
            return session.state, code, str(session.why or "")
        if window.halt is not None:
            code = window.halt.code
            state = UplinkState.WAITING if code.startswith(PASSING) else UplinkState.REFUSED
            return state, code, "batches are refused; they stay in the ring"
        if self._sender.nobody and len(window):
            return (
                session.state,
                "uplink.no-receiver",
                "the broker takes batches, nobody fetches them",
            )
        if window.silent:
            return session.state, "uplink.no-receipt", "batches are sent, no receipt comes"
        return session.state, None, ""


def _broker(settings: Settings, identity: EnrolledAs, keepalive: int) -> MqttTransport:
    files = TlsFiles(identity.tls_certificate, identity.tls_key, identity.server_ca)
    address = BrokerAddress(
        settings.host,
        settings.port,
        identity.gateway,
        files,
        keepalive=keepalive,
        # a copy that nobody fetched is gone when the next one is sent: the broker's queue stays short
        message_expiry=settings.receipt_timeout,
    )
    return MqttTransport(address)
