"""Growing, jittered pauses between tries."""

from __future__ import annotations

import random


class Backoff:
    """Growing pauses in seconds, each drawn between half and the whole, so that many do not try in step."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest, self._next = first, longest, first

    def pause(self) -> float:
        """How long to wait before the next try."""
        whole, self._next = self._next, min(2 * self._next, self._longest)
        return whole * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked."""
        self._next = self._first
