"""How often somebody may be wrong: failures are counted by name, and whoever has had too many waits."""

from __future__ import annotations

from collections import OrderedDict, deque

from lamppost_hub.clock import Clock

NAMES = 10_000  # remembered at most; the one longest quiet is forgotten first


class Attempts:
    """At most `allowed` failures of one name in `seconds`, by the monotonic clock."""

    def __init__(self, clock: Clock, *, allowed: int, seconds: float) -> None:
        self._clock = clock
        self._allowed = allowed
        self._seconds = seconds
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until `name` may try again; 0 if it may now."""
        times = self._recent(name)
        if len(times) < self._allowed:
            return 0.0
        return max(0.0, times[0] + self._seconds - self._clock.monotonic())

    def failed(self, name: str) -> None:
        """Count one failure."""
        times = self._recent(name)
        times.append(self._clock.monotonic())
        self._failures[name] = times
        self._failures.move_to_end(name)
        while len(self._failures) > NAMES:
            self._failures.popitem(last=False)

    def _recent(self, name: str) -> deque[float]:
        times = self._failures.get(name) or deque(maxlen=self._allowed)
        since = self._clock.monotonic() - self._seconds
        while times and times[0] <= since:
            times.popleft()
        return times
