"""Publishes held batches and settles the ring when, and only when, their receipts are verified.

The sender keeps its own in-flight window (`window`), because neither a PUBACK nor an MQTT session proves anything
about the hub. A batch is published as the ring holds it, byte for byte, as often as it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol

from lamppost.clock import Clock
from lamppost.envelope.receipt import Statement
from lamppost.errors import LamppostError, StoreError
from lamppost.model import Batch, Instant, Receipt
from lamppost.uplink.faults import fault
from lamppost.uplink.pause import signal_or_deadline
from lamppost.uplink.receipts import Find
from lamppost.uplink.transport import Ack, Transport
from lamppost.uplink.window import Flight, Key, Window

log = logging.getLogger(__name__)

STALL = 30.0  # seconds without any progress while the broker owes a PUBACK; receipt_timeout if that is longer
STORE_PAUSE = 5.0  # seconds until a receipt is handed to the ring again that its disk refused


class Outbox(Protocol):
    """The two things the sender asks of the ring; neither may block for long (ring.offloop)."""

    def held(self) -> Sequence[Batch]:
        """Sealed batches without a verified receipt, in order of seq."""
        ...

    def settle(self, epoch: str, seq: int) -> bool:
        """The receipt for this batch is verified."""
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
        on_receipt: Callable[[], None] = lambda: None,
    ) -> None:
        self._topic = f"lamppost/{gateway}/up"
        self._outbox = outbox
        self._reader = reader
        self._clock = clock
        self._on_receipt = on_receipt
        self._stall = max(STALL, receipt_timeout)
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._progress = 0.0
        self._broken: BaseException | None = None
        self._store_retry: float | None = None
        self.window = Window(in_flight, receipt_timeout)
        self.sent = Sent()
        self.nobody = False  # the broker said that nobody is subscribed, and no receipt came since

    def notify(self) -> None:
        """A new batch is held."""
        self._wake.set()

    async def drained(self, deadline: float) -> bool:
        """Wait until nothing is held, at most until `deadline` (monotonic seconds); True if nothing is."""
        while self._outbox.held():
            if self._clock.monotonic() >= deadline:
                return False
            self._settled.clear()
            await signal_or_deadline(self._clock, self._settled, deadline)
        return True

    async def serve(self, link: Transport) -> NoReturn:
        """Send and listen on an open connection until it is lost; raises why (HubError, TrustError)."""
        self._broken = None
        self._progress = self._clock.monotonic()
        self.window.opened()
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
            self.window.closed()

    def _step(self, link: Transport) -> None:
        self._settle()
        self.window.hold(self._outbox.held())
        now = self._clock.monotonic()
        for flight in self.window.due(now):
            self._publish(link, flight, now)
        if self.window.unacknowledged and now >= self._progress + self._stall:
            raise fault("uplink.slow", f"no answer from the broker for {self._stall:g} s")

    def _deadline(self) -> float | None:
        times = [self.window.next_deadline(), self._store_retry]
        if self.window.unacknowledged:
            times.append(self._progress + self._stall)
        return min((t for t in times if t is not None), default=None)

    def _publish(self, link: Transport, flight: Flight, now: float) -> None:
        if not self.window.unacknowledged:
            self._progress = now  # the broker owes an answer from now on
        message = flight.batch.message
        answer = link.publish(self._topic, message)
        self.sent.batches += 1
        self.sent.again += flight.sends > 0
        self.sent.bytes += len(message)
        self.window.published(flight)
        answer.add_done_callback(partial(self._answered, flight.key))

    def _answered(self, key: Key, answer: asyncio.Future[Ack]) -> None:
        """The broker's PUBACK, or its refusal, or the loss of the connection."""
        if answer.cancelled():
            return
        error = answer.exception()
        now = self._clock.monotonic()
        if error is None:
            self._progress = now
            self.nobody = answer.result() is Ack.NOBODY
            self.window.puback(key, now, heard=not self.nobody)
        elif isinstance(error, LamppostError) and error.code in _REFUSALS_OF_BROKER:
            self._count_refusal(error.code, self.window.refuse(key, error.code, now))
        else:
            self._broken = error
        self._wake.set()

    async def _listen(self, link: Transport) -> None:
        async for incoming in link.messages():
            self._progress = self._clock.monotonic()
            said = self._reader.read(incoming.payload, self.window.find)
            if isinstance(said, Receipt):
                self.nobody = False
                self.sent.last_receipt = self._clock.now()
                self.window.receipt((said.epoch, said.seq))
                self._on_receipt()
                self._wake.set()
            elif isinstance(said, Statement):
                self._obey(said)
                self._wake.set()

    def _obey(self, said: Statement) -> None:
        """A signed word of the hub; it can delay a batch, never end its life."""
        now = self._clock.monotonic()
        if said.kind == "resend":
            if self.window.resend(said.epoch, said.seq, said.next, now):
                log.info("the hub asks for batch %d and what follows", said.next)
            return
        if said.seq >= 0:
            self._count_refusal(
                said.code, self.window.refuse((said.epoch, said.seq), said.code, now)
            )
        else:
            self._count_refusal(said.code, self.window.refuse_unnamed(said.code, now))

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
            for flight in list(self.window.settleable()):
                self._outbox.settle(*flight.key)
                self.window.settled(flight.key)
                self._settled.set()
        except StoreError as error:
            log.error("the ring could not settle: %s", error)
            self._store_retry = now + STORE_PAUSE


_REFUSALS_OF_BROKER = frozenset({"uplink.not-authorised", "uplink.too-big", "uplink.slow"})
