"""What a failure means: ok → suspect → dead, with growing pauses, and one way back. Pure; for devices and for ports.

One answer brings everything back at once. Dead devices are asked by one cheap probe at a time, so
seldom that their neighbours on the bus lose at most PROBE_SHARE of their time, and often enough that each is noticed
within LONGEST_PROBE_PAUSE and a little when it is back.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MISSES_TO_DEATH = 3
SOON = 0.2
"""Seconds after which a device is asked again whose answer was damaged."""
PROBE_SHARE = 0.02
"""Share of a bus that probes of dead devices may take from devices that answer."""
LONGEST_PROBE_PAUSE = 25.0
"""Seconds: even on a slow link every dead device is noticed back within half a minute."""
WHOLE_PATIENCE_EVERY = 6
"""One probe in so many waits as long as any request: the device may have come back slower than it was."""


class State(enum.StrEnum):
    """How a device or a port is. `waiting`: never tried yet."""

    WAITING = "waiting"
    OK = "ok"
    SUSPECT = "suspect"
    DEAD = "dead"


class Event(enum.Enum):
    """What happened when we asked. `LAST_MISS` is the miss that makes MISSES_TO_DEATH in a row."""

    ANSWER = "answer"
    MISS = "miss"
    LAST_MISS = "last miss"


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.WAITING, Event.ANSWER): State.OK,
        (State.WAITING, Event.MISS): State.SUSPECT,
        (State.OK, Event.ANSWER): State.OK,
        (State.OK, Event.MISS): State.SUSPECT,
        (State.SUSPECT, Event.ANSWER): State.OK,
        (State.SUSPECT, Event.MISS): State.SUSPECT,
        (State.SUSPECT, Event.LAST_MISS): State.DEAD,
        (State.DEAD, Event.ANSWER): State.OK,
        (State.DEAD, Event.MISS): State.DEAD,
        (State.DEAD, Event.LAST_MISS): State.DEAD,
    }
)


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to leave it alone after the n-th miss in a row: first × 2^(n − 1), at most `longest` (seconds)."""

    first: float
    longest: float

    def after(self, misses: int) -> float:
        """Seconds to wait after `misses` misses in a row."""
        return min(self.longest, self.first * 2.0 ** min(misses - 1, 30))


DEVICE = Pauses(first=1.0, longest=12.0)
PORT = Pauses(first=0.5, longest=5.0)


class Health:
    """The state of one device or port. `since` and `next_try` are monotonic seconds."""

    __slots__ = ("_pauses", "misses", "next_try", "since", "state")

    def __init__(self, pauses: Pauses, now: float) -> None:
        self._pauses = pauses
        self.state = State.WAITING
        self.since = now
        self.misses = 0
        self.next_try = now

    def answered(self, now: float) -> bool:
        """It answered. Returns whether it had been missed before."""
        if self.state is State.OK:
            return False
        missed = self.misses > 0
        self.misses = 0
        self.next_try = now
        self._turn(Event.ANSWER, now)
        return missed

    def missed(self, now: float, rest: float = 0.0, *, there: bool = False) -> None:
        """It failed to answer. `rest`: leave it alone at least so long, as a late answer may still come.

        `there`: it did answer, but damaged; then it is soon asked again.
        """
        self.misses += 1
        last = self.misses >= MISSES_TO_DEATH
        soon = there and not last
        pause = SOON * self.misses if soon else self._pauses.after(self.misses)
        self.next_try = now + max(rest, pause)
        self._turn(Event.LAST_MISS if last else Event.MISS, now)

    def resting(self, now: float) -> bool:
        """Whether it is to be left alone at `now`."""
        return self.misses > 0 and now < self.next_try

    def _turn(self, event: Event, now: float) -> None:
        state = TRANSITIONS[self.state, event]
        if state is not self.state:
            self.state, self.since = state, now


class ProbeBudget:
    """When the next probe of a dead device may be sent, and how long it may wait for its answer.

    The living lose at most PROBE_SHARE of the bus to one dead device. Each of several is asked within
    LONGEST_PROBE_PAUSE too: so that they together cost no more, each probe waits for a shorter time.
    """

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free = -math.inf

    def free(self, alive: bool) -> float:
        """Monotonic time from which a probe may go out; at once where nobody on the bus is `alive`."""
        return self._free if alive else -math.inf

    def patience(self, dead: int) -> float:
        """Seconds that a probe may wait while so many devices are dead."""
        return PROBE_SHARE * LONGEST_PROBE_PAUSE / max(dead, 1)

    def spent(self, now: float, seconds: float, dead: int = 1) -> None:
        """A probe took `seconds` of the bus until `now` and brought no answer; so many devices are dead."""
        pause = seconds * (1 / PROBE_SHARE - 1)
        self._free = now + min(pause, LONGEST_PROBE_PAUSE / max(dead, 1))
