"""Is a bus stuck? Every request has a deadline: none holds the bus for minutes, but one that hangs in the kernel."""

from __future__ import annotations

from lamppost.clock import Clock
from lamppost.links.bus import LONGEST_LEASE, Turn

STUCK_AFTER = LONGEST_LEASE + 30.0  # seconds


class Watched:
    """One bus's turn, looked at now and then."""

    def __init__(self, turn: Turn, clock: Clock) -> None:
        self._turn = turn
        self._clock = clock
        self._seen = -1
        self._since = 0.0

    def is_stuck(self) -> bool:
        """Whether the same holder has it since STUCK_AFTER seconds."""
        now = self._clock.monotonic()
        if not self._turn.locked() or self._turn.given_back != self._seen:
            self._seen, self._since = self._turn.given_back, now
            return False
        return now - self._since >= STUCK_AFTER
