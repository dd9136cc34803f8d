"""The in-flight window: which batch may be sent now, and what each answer means. No I/O, no clock.

`NEXT` is the whole life of a batch between `ring.hold` and `ring.settle`; docs/explanation/delivery.md draws it.
An event that has no row for a batch's phase changes nothing, so that late, repeated or forged answers are harmless.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lamppost.model import Batch

Key: TypeAlias = tuple[str, int]  # epoch and seq

FIRST_PAUSE = 15.0  # seconds after a first refusal, doubled up to LONGEST_PAUSE
LONGEST_PAUSE = 900.0
LONGEST_PATIENCE = 8  # times receipt_timeout
UNHEARD = 1.0  # seconds until the next try when nobody is subscribed, doubled each time up to that
PASSING = ("sink.", "uplink.slow")  # refusals that end by themselves
LOOKAHEAD = 2  # times `limit`: how many held batches are looked at, so a long backlog costs nothing
BELIEVED_BEHIND = 3  # answers in a row, without a receipt between, until "hub-behind" is believed


class Phase(enum.StrEnum):
    """Where a held batch stands."""

    HELD = "held"  # waits for its turn
    SENT = "sent"  # handed to the connection, the broker has not answered
    TAKEN = "taken"  # the broker has it (PUBACK): the receipt is awaited
    REFUSED = "refused"  # the hub or the broker said no: offered again after a pause
    PROVED = "proved"  # its receipt is verified: settled as soon as all before it are


class Event(enum.StrEnum):
    """What can happen to a batch."""

    PUBLISH = "publish"
    PUBACK = "puback"
    LOST = "connection lost"
    OVERDUE = "no receipt in time"
    RESEND = "resend asked"
    REFUSE = "refused"
    AGAIN = "pause over"
    RECEIPT = "receipt verified"


NEXT: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.HELD, Event.PUBLISH): Phase.SENT,
    (Phase.HELD, Event.RECEIPT): Phase.PROVED,
    (Phase.SENT, Event.PUBACK): Phase.TAKEN,
    (Phase.SENT, Event.LOST): Phase.HELD,
    (Phase.SENT, Event.REFUSE): Phase.REFUSED,
    (Phase.SENT, Event.RECEIPT): Phase.PROVED,
    (Phase.TAKEN, Event.LOST): Phase.HELD,
    (Phase.TAKEN, Event.OVERDUE): Phase.HELD,
    (Phase.TAKEN, Event.RESEND): Phase.HELD,
    (Phase.TAKEN, Event.REFUSE): Phase.REFUSED,
    (Phase.TAKEN, Event.RECEIPT): Phase.PROVED,
    (Phase.REFUSED, Event.AGAIN): Phase.HELD,
    (Phase.REFUSED, Event.RECEIPT): Phase.PROVED,
}

IN_FLIGHT = (Phase.SENT, Phase.TAKEN)


@dataclass(slots=True)
class Flight:
    """A held batch and its phase; `deadline` is when its receipt is overdue (only in phase taken)."""

    batch: Batch
    phase: Phase = Phase.HELD
    deadline: float = 0.0
    heard: bool = True  # somebody was subscribed when the broker took it
    sends: int = 0

    @property
    def key(self) -> Key:
        """Epoch and seq."""
        return self.batch.epoch, self.batch.seq

    def on(self, event: Event) -> bool:
        """Take the step of `NEXT`; False when there is none."""
        step = NEXT.get((self.phase, event))
        if step is None:
            return False
        self.phase = step
        return True


@dataclass(frozen=True, slots=True)
class Halt:
    """The hub or the broker refuses: nothing is sent before `until` (monotonic seconds)."""

    code: str
    until: float


class Window:
    """All held batches in order, at most `limit` of them in flight.

    Careful by design: after a reconnect or an overdue receipt one batch goes out, and each verified receipt doubles
    what may be in flight, so a silent hub or a refusing one costs one batch a try, not a window.
    """

    def __init__(
        self, limit: int, receipt_timeout: float, *, longest_unheard: float | None = None
    ) -> None:
        self._limit = limit
        self._timeout = receipt_timeout
        self._longest_unheard = longest_unheard or receipt_timeout * LONGEST_PATIENCE
        self._flights: dict[Key, Flight] = {}
        self._allowance = 1
        self._patience = 1
        self._unheard = UNHEARD
        self._pause = FIRST_PAUSE
        self._rewound: tuple[Key, float] | None = None
        self._behind = 0
        self.halt: Halt | None = None
        self.silent = False  # a receipt was overdue and none has come since

    # --- what it holds ---

    def hold(self, held: Sequence[Batch]) -> None:
        """Take over the ring's list of unsettled batches, which decides what exists and in what order."""
        known = self._flights
        near = held[: LOOKAHEAD * self._limit]
        self._flights = {(b.epoch, b.seq): known.get((b.epoch, b.seq)) or Flight(b) for b in near}

    def find(self, epoch: str, seq: int) -> Batch | None:
        """The unsettled batch of that name."""
        flight = self._flights.get((epoch, seq))
        return flight.batch if flight else None

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def in_flight(self) -> int:
        """Batches sent and not yet answered."""
        return sum(1 for flight in self._flights.values() if flight.phase in IN_FLIGHT)

    @property
    def unacknowledged(self) -> int:
        """Batches that the broker has not taken yet."""
        return sum(1 for flight in self._flights.values() if flight.phase is Phase.SENT)

    def phases(self) -> Iterator[tuple[Key, Phase]]:
        """Every held batch with its phase, oldest first."""
        return ((key, flight.phase) for key, flight in self._flights.items())

    # --- what to do next ---

    def due(self, now: float) -> Iterator[Flight]:
        """Batches to publish now, in order; the caller reports each with `published` before it takes the next."""
        self._expire(now)
        if self.halt is not None:
            return
        for flight in list(self._flights.values()):
            if flight.phase is not Phase.HELD:
                continue
            oldest = next(f for f in self._flights.values() if f.phase is not Phase.PROVED)
            if self.in_flight >= self._allowance and flight is not oldest:
                return
            yield flight

    def _expire(self, now: float) -> None:
        if self.halt is not None and now >= self.halt.until:
            self._release()
        for flight in self._flights.values():
            if flight.phase is Phase.TAKEN and now >= flight.deadline:
                flight.on(Event.OVERDUE)
                self.silent = True
                self._allowance = 1
                if flight.heard:
                    self._patience = min(2 * self._patience, LONGEST_PATIENCE)

    def next_deadline(self) -> float | None:
        """When `due` has to be asked again, if nothing happens before."""
        times = [f.deadline for f in self._flights.values() if f.phase is Phase.TAKEN]
        if self.halt is not None:
            times.append(self.halt.until)
        return min(times, default=None)

    def settleable(self) -> Iterator[Flight]:
        """Proved batches that have only proved ones before them."""
        for flight in self._flights.values():
            if flight.phase is not Phase.PROVED:
                return
            yield flight

    # --- what happened ---

    def opened(self) -> None:
        """A connection stands: begin with one batch, and without old doubts."""
        self._allowance = 1
        self._patience = 1
        self._unheard = UNHEARD

    def closed(self) -> None:
        """The connection is gone: what was in flight is sent again, refusals keep their pause."""
        for flight in self._flights.values():
            flight.on(Event.LOST)

    def published(self, flight: Flight) -> None:
        """The batch was handed to the connection."""
        flight.on(Event.PUBLISH)
        flight.sends += 1

    def puback(self, key: Key, now: float, heard: bool = True) -> None:
        """The broker has the batch; only now does its receipt's time start, so a slow line is no time-out.

        Where nobody was subscribed (not `heard`) no receipt can come: after a restart of broker and hub the gateway
        is often back first, so it tries again soon.
        """
        flight = self._flights.get(key)
        if flight is None or not flight.on(Event.PUBACK):
            return
        flight.heard = heard
        if heard:
            flight.deadline = now + self._timeout * self._patience
            self._unheard = UNHEARD
        else:
            flight.deadline = now + min(self._unheard, self._longest_unheard)
            self._unheard *= 2

    def somebody_is_there(self, now: float) -> None:
        """The hub has subscribed, as another lane has seen: what nobody heard may be sent again at once."""
        self._unheard = UNHEARD
        for flight in self._flights.values():
            if flight.phase is Phase.TAKEN and not flight.heard:
                flight.deadline = min(flight.deadline, now)

    def receipt(self, key: Key) -> None:
        """The batch's receipt is verified: the hub is there and willing, so doubt ends."""
        flight = self._flights.get(key)
        if flight is None or not flight.on(Event.RECEIPT):
            return
        self._allowance = min(2 * self._allowance, self._limit)
        self._patience = 1
        self._pause = FIRST_PAUSE
        self._behind = 0
        self.silent = False
        self._release()

    def settled(self, key: Key) -> None:
        """The ring has moved its cursor over the batch: its life ends here."""
        self._flights.pop(key, None)

    def refuse(self, key: Key, code: str, now: float) -> bool:
        """A signed refusal of this batch, or the broker's: pause, longer each time, and never drop it."""
        flight = self._flights.get(key)
        if flight is None or not flight.on(Event.REFUSE):
            return False
        self._stop(code, now)
        return True

    def refuse_unnamed(self, code: str, now: float) -> bool:
        """The hub could not read a message, so it cannot name the batch: the oldest in flight stands for it."""
        oldest = next((f for f in self._flights.values() if f.phase in IN_FLIGHT), None)
        return oldest is not None and self.refuse(oldest.key, code, now)

    def resend(self, epoch: str, seq: int, wanted: int, now: float) -> bool:
        """The hub has seen `seq` and lacks `wanted`: send again from there. True if that changed anything.

        One lost batch makes every later one in flight ask for it: the first such answer counts.
        """
        if (epoch, wanted) not in self._flights:
            return self._beyond(epoch, seq, wanted, now)
        if self._rewound is not None:
            key, when = self._rewound
            if now < when + (self._timeout if key == (epoch, wanted) else min(1.0, self._timeout)):
                return False
        back = [
            f for f in self._flights.values() if f.batch.epoch == epoch and f.batch.seq >= wanted
        ]
        moved = [f for f in back if f.on(Event.RESEND)]
        if moved:
            self._rewound = (epoch, wanted), now
            self._allowance = max(1, self._allowance // 2)
        return bool(moved)

    def _beyond(self, epoch: str, seq: int, wanted: int, now: float) -> bool:
        """The hub wants what is settled long ago. Late or replayed answers say so too, so believe it slowly."""
        oldest = next(iter(self._flights.values()), None)
        if oldest is None or oldest.key != (epoch, seq) or wanted >= seq:
            return False
        self._behind += 1
        if self._behind < BELIEVED_BEHIND:
            return False
        return self.refuse(oldest.key, "uplink.hub-behind", now)

    def _stop(self, code: str, now: float) -> None:
        if self.halt is None:
            self.halt = Halt(code, now + self._pause)
            if not code.startswith(PASSING):
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _release(self) -> None:
        if self.halt is not None:
            self._allowance = 1
            self.halt = None
        for flight in self._flights.values():
            flight.on(Event.AGAIN)
