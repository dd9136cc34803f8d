"""Publishes held batches and settles the ring when, and only when, their receipts are verified.

The sender keeps its own in-flight window (`window`), because neither a PUBACK nor an MQTT session proves anything
about the hub. A batch is published as the ring holds it, byte for byte, as often as it takes. Alerts have a lane of
their own, which goes first; how much of the readings' lane may be unanswered is `pace`'s word, and how much of the
month's bytes it may use the budget's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol

from lamppost.clock import Clock
from lamppost.envelope.receipt import Statement
from lamppost.errors import LamppostError, StoreError
from lamppost.model import Instant, Receipt
from lamppost.uplink.budget import Thrift
from lamppost.uplink.faults import fault
from lamppost.uplink.lanes import Lane, Lanes, Outbox
from lamppost.uplink.pace import Pace
from lamppost.uplink.pause import signal_or_deadline
from lamppost.uplink.receipts import Find
from lamppost.uplink.transport import Ack, Transport
from lamppost.uplink.window import IN_FLIGHT, Flight, Key, Window

log = logging.getLogger(__name__)

STALL = 30.0  # seconds without any progress while the broker owes a PUBACK; receipt_timeout if that is longer
ALERT_AGAIN = 5.0  # seconds at most until an alert that nobody was there to hear is sent again
THRIFTY_LOOK = 60.0  # seconds between two looks at whether the month allows more
STORE_PAUSE = 5.0  # seconds until a receipt is handed to the ring again that its disk refused


class Meter(Protocol):
    """What `budget.Budget` does."""

    monthly: int | None
    spent: int

    def message(self, size: int) -> None:
        """A message went over the line."""
        ...

    def connected(self) -> None:
        """A connection was opened."""
        ...

    def pings(self, count: float) -> None:
        """The line was kept alive."""
        ...

    def level(self) -> Thrift:
        """What gives way now."""
        ...


class DownReader(Protocol):
    """What `receipts.Receipts` does."""

    def read(self, message: bytes, find: Find) -> Receipt | Statement | None:
        """A verified receipt of a held batch, a verified statement, or None."""
        ...


@dataclass(slots=True)
class Sent:
    """Counters since the start of the process."""

    batches: int = 0
    again: int = 0
    bytes: int = 0
    alerts: int = 0
    refused: int = 0
    last_refusal: str = ""
    last_receipt: Instant | None = None


class Sender:
    """One sender for the life of the process; `serve` runs once for each connection."""

    def __init__(
        self,
        gateway: str,
        outbox: Outbox,
        reader: DownReader,
        clock: Clock,
        *,
        in_flight: int,
        receipt_timeout: float,
        meter: Meter,
        keepalive: float = 15.0,
        alerts: Outbox | None = None,
        on_receipt: Callable[[], None] = lambda: None,
        on_nudge: Callable[[str], None] = lambda code: None,
    ) -> None:
        self.window = Window(in_flight, receipt_timeout)
        urgent = (
            Lane(
                f"lamppost/{gateway}/alert",
                alerts,
                Window(in_flight, receipt_timeout, longest_unheard=ALERT_AGAIN),
                True,
            )
            if alerts is not None
            else None
        )
        self.lanes = Lanes(Lane(f"lamppost/{gateway}/up", outbox, self.window, False), urgent)
        self.pace = Pace()
        self._meter = meter
        self._keepalive = keepalive
        self._reader = reader
        self._clock = clock
        self._on_receipt = on_receipt
        self._on_nudge = on_nudge
        self._stall = max(STALL, receipt_timeout)
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._progress = 0.0
        self._broken: BaseException | None = None
        self._store_retry: float | None = None
        self._looked = 0.0
        self._word: tuple[str, bytes] | None = None
        self.sent = Sent()
        self.nobody = False  # the broker said that nobody is subscribed, and no receipt came since

    def notify(self) -> None:
        """A new batch is held."""
        self._wake.set()

    def tell(self, topic: str, message: bytes) -> None:
        """Publish this once, soon; only the newest one waits, and nobody is told whether it arrived."""
        self._word = topic, message
        self._wake.set()

    async def drained(self, deadline: float) -> bool:
        """Wait until nothing is held, at most until `deadline` (monotonic seconds); True if nothing is."""
        while self.lanes.held():
            if self._clock.monotonic() >= deadline:
                return False
            self._settled.clear()
            await signal_or_deadline(self._clock, self._settled, deadline)
        return True

    async def serve(self, link: Transport) -> NoReturn:
        """Send and listen on an open connection until it is lost; raises why (HubError, TrustError)."""
        self._broken = None
        self._progress = self._looked = self._clock.monotonic()
        self._meter.connected()
        for lane in self.lanes:
            lane.window.opened()
        listener = asyncio.create_task(self._listen(link), name="uplink listener")
        try:
            while True:
                self._wake.clear()
                self._step(link)
                await signal_or_deadline(self._clock, self._wake, self._deadline(), listener)
                if listener.done():
                    listener.result()
                    raise fault("uplink.lost", "the connection ended")
                if self._broken is not None:
                    raise self._broken
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            self._settle()  # receipts that came with the last bytes count
            self.pace.lost()
            for lane in self.lanes:
                lane.window.closed()

    def _step(self, link: Transport) -> None:
        self._settle()
        now = self._clock.monotonic()
        self._meter.pings(max(0.0, now - self._looked) / self._keepalive)
        self._looked = now
        if self._word is not None:
            (topic, message), self._word = self._word, None
            link.publish(topic, message, urgent=True).add_done_callback(_passed_over)
            self._meter.message(len(message))
        for lane in self.lanes:
            lane.window.hold(lane.outbox.held())
            self._send(link, lane, now)
        if self.lanes.unacknowledged and now >= self._progress + self._stall:
            raise fault("uplink.slow", f"no answer from the broker for {self._stall:g} s")

    def _send(self, link: Transport, lane: Lane, now: float) -> None:
        """Publish what the lane's window, the line's pace and the month allow. Alerts ask the window only."""
        silent = lane.window.silent
        if not lane.urgent:
            self.pace.only({key for key, phase in lane.window.phases() if phase in IN_FLIGHT})
        for flight in lane.window.due(now):
            if lane.window.silent and not silent:
                self.pace.troubled()
                silent = True
            if not lane.urgent:
                if self.thrift is Thrift.ALERTS_ONLY:
                    return
                if not self.pace.allows(len(flight.batch.message)):
                    return
            self._publish(link, lane, flight, now)

    @property
    def thrift(self) -> Thrift:
        """What gives way to the month's budget at present."""
        return self._meter.level()

    def _deadline(self) -> float | None:
        times = [lane.window.next_deadline() for lane in self.lanes]
        times.append(self._store_retry)
        if self.lanes.unacknowledged:
            times.append(self._progress + self._stall)
        if self.thrift is Thrift.ALERTS_ONLY:
            times.append(self._looked + THRIFTY_LOOK)
        return min((t for t in times if t is not None), default=None)

    def _publish(self, link: Transport, lane: Lane, flight: Flight, now: float) -> None:
        if not self.lanes.unacknowledged:
            self._progress = now  # the broker owes an answer from now on
        message = flight.batch.message
        answer = link.publish(lane.topic, message, urgent=lane.urgent)
        self.sent.batches += 1
        self.sent.again += flight.sends > 0
        self.sent.bytes += len(message)
        self.sent.alerts += lane.urgent
        self._meter.message(len(message))
        if not lane.urgent:
            self.pace.sent(flight.key, len(message), flight.batch.span.count, now)
        lane.window.published(flight)
        answer.add_done_callback(partial(self._answered, lane, flight.key))

    def _answered(self, lane: Lane, key: Key, answer: asyncio.Future[Ack]) -> None:
        """The broker's PUBACK, or its refusal, or the loss of the connection."""
        if answer.cancelled():
            return
        error = answer.exception()
        now = self._clock.monotonic()
        if error is None:
            self._progress = now
            self.nobody = answer.result() is Ack.NOBODY
            lane.window.puback(key, now, heard=not self.nobody)
            if not self.nobody:
                for other in self.lanes:
                    other.window.somebody_is_there(now)
        elif isinstance(error, LamppostError) and error.code in _REFUSALS_OF_BROKER:
            self._count_refusal(error.code, lane.window.refuse(key, error.code, now))
        else:
            self._broken = error
        self._wake.set()

    async def _listen(self, link: Transport) -> None:
        async for incoming in link.messages():
            self._progress = now = self._clock.monotonic()
            self._meter.message(len(incoming.payload))
            said = self._reader.read(incoming.payload, self.lanes.find)
            if isinstance(said, Receipt):
                self.nobody = False
                self.sent.last_receipt = self._clock.now()
                key = said.epoch, said.seq
                self.lanes.of(said.epoch).window.receipt(key)
                self.pace.proved(key, now)
                self._on_receipt()
                self._wake.set()
            elif isinstance(said, Statement):
                self._obey(said)
                self._wake.set()

    def _obey(self, said: Statement) -> None:
        """A signed word of the hub; it can delay a batch, never end its life."""
        if said.kind == "nudge":
            self._on_nudge(said.code)
            return
        now = self._clock.monotonic()
        window = self.lanes.of(said.epoch).window
        if said.kind == "resend":
            if window.resend(said.epoch, said.seq, said.next, now):
                self.pace.troubled()
                log.info("the hub asks for batch %d and what follows", said.next)
            return
        if said.seq >= 0:
            self._count_refusal(said.code, window.refuse((said.epoch, said.seq), said.code, now))
        else:
            self._count_refusal(said.code, window.refuse_unnamed(said.code, now))

    def _count_refusal(self, code: str, counted: bool) -> None:
        if counted:
            self.sent.refused += 1
            self.sent.last_refusal = code
            log.warning("a batch was refused (%s); it stays in the ring and is offered again", code)

    def _settle(self) -> None:
        """Hand proved batches to the ring, in order. A disk that refuses is tried again; the proof is kept."""
        now = self._clock.monotonic()
        if self._store_retry is not None and now < self._store_retry:
            return
        self._store_retry = None
        try:
            for lane in self.lanes:
                for flight in list(lane.window.settleable()):
                    lane.outbox.settle(*flight.key)
                    lane.window.settled(flight.key)
                    self._settled.set()
        except StoreError as error:
            log.error("the ring could not settle: %s", error)
            self._store_retry = now + STORE_PAUSE


def _passed_over(answer: asyncio.Future[Ack]) -> None:
    """A word that does not arrive is said again anyway; a lost connection shows elsewhere."""
    if not answer.cancelled():
        answer.exception()


_REFUSALS_OF_BROKER = frozenset({"uplink.not-authorised", "uplink.too-big", "uplink.slow"})
