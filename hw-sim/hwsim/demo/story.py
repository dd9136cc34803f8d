"""What happens during the demo, and when: an outage of the broker and a pulled cable, told in words.

With `hold` nothing happens by itself: whoever watches pulls the cables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hwsim.demo.bench import Bench

CABLE = "rs485-1"
Scene = tuple[float, Callable[[], None]]


@dataclass
class Story:
    """Acts out its scenes on a Bench as time passes; `now` says what is going on."""

    bench: Bench
    seconds: float
    hold: bool = False
    began: float = field(default_factory=time.monotonic)
    now: str = "everything is up: readings travel to the hub"
    outage_seconds: float = 0.0
    cable_seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    _broken: float = 0.0

    def __post_init__(self) -> None:
        if self.hold:
            self.now = "nothing fails by itself: it is your turn, in a second terminal"
        self._scenes: Iterator[Scene] = iter([] if self.hold else self._plot(self.seconds))
        self._next = next(self._scenes, None)

    def _plot(self, n: float) -> list[Scene]:
        return [
            (0.25 * n, self._stop_broker),
            (0.505 * n, self._start_broker),
            (0.65 * n, self._pull_cable),
            (0.80 * n, self._plug_cable),
            (0.90 * n, self._settle_down),
        ]

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        """Whether its time is up and every scene was played."""
        return self._next is None and self.elapsed >= self.seconds

    def act(self) -> None:
        """Play the scenes that are due."""
        while self._next is not None and self.elapsed >= self._next[0]:
            self._next[1]()
            self._next = next(self._scenes, None)

    def _tell(self, words: str) -> None:
        self.now = words
        self.told.append(f"{self.elapsed:5.1f} s  {words}")

    def _stop_broker(self) -> None:
        self._tell("the broker is stopped: readings wait in the ring")
        self._broken = time.monotonic()
        self.bench.stop("broker")

    def _start_broker(self) -> None:
        self.bench.start_broker()
        self.outage_seconds = time.monotonic() - self._broken
        self._tell("the broker is back: the ring catches up")

    def _pull_cable(self) -> None:
        self._tell(f"the cable {CABLE} is pulled: its meters are marked, the others go on")
        self._broken = time.monotonic()
        self.bench.cabinet("unplug", line=CABLE)

    def _plug_cable(self) -> None:
        self.bench.cabinet("plug", line=CABLE)
        self.cable_seconds = time.monotonic() - self._broken
        self._tell(f"the cable {CABLE} is back: its meters answer again")

    def _settle_down(self) -> None:
        self._tell("everything is up again")
