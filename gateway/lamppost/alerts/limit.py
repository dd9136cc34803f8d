"""How often one rule may speak: a rule that flaps without end must not flood the uplink or empty a byte budget.

A rule has `BURST` raises; each one spent comes back after `repeat`. An alert is cleared only while there is one left
for the next raise, so a rule without any stays raised, marked as flapping, until it has been quiet: the one state that
may not be hidden is the raised one. In any stretch of time t a rule is raised at most BURST + t / repeat times.
"""

from __future__ import annotations

BURST = 4


class Limit:
    """The raises that a rule has left; `now` is boot-clock nanoseconds."""

    def __init__(self, repeat: int, left: int = BURST) -> None:
        self._repeat = repeat
        self._left = max(0, min(left, BURST))
        self._since: int | None = (
            None  # when the one that comes back next was begun to be waited for
        )

    def left(self, now: int) -> int:
        """How many raises are left."""
        if self._left >= BURST:
            self._since = None
        elif self._since is None:
            self._since = now
        else:
            back = min(max(0, now - self._since) // self._repeat, BURST - self._left)
            self._left += back
            self._since += back * self._repeat
        return self._left

    def spend(self, now: int) -> None:
        """A raise goes out."""
        self._left = max(0, self.left(now) - 1)
        if self._since is None:
            self._since = now
