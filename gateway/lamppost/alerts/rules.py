"""What a rule watches, as plain values, and the conditions that see one number after another.

A condition answers True (it holds), False (it is over) or None (between the two: hysteresis, or not enough seen).
Instants are nanoseconds of one boot and never go back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol, TypeAlias

BUCKETS = 60  # a rate's interval is remembered as so many parts, whatever the number of readings


@dataclass(frozen=True, slots=True)
class Threshold:
    """At or past `limit`, upwards or downwards (`up` False); over once `clear` is reached on the way back."""

    limit: float
    clear: float
    up: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """A rise (or, `up` False, a fall) of `change` within `over` nanoseconds; over at no more than `clear`."""

    change: float
    clear: float
    over: int
    up: bool = True


@dataclass(frozen=True, slots=True)
class Stuck:
    """A value that has not moved by more than `tolerance` for `after` nanoseconds of unbroken reading."""

    after: int
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Silence:
    """No usable reading for `after` nanoseconds."""

    after: int


Kind: TypeAlias = Threshold | Rate | Stuck | Silence


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `point` "" stands for every point of the device (silence only).

    The condition must hold for `hold` nanoseconds before the alert is raised and be over for `clear_hold` before it is
    cleared. `repeat` is how much time a raise costs: see `limit`.
    """

    name: str
    device: str
    point: str
    kind: Kind
    severity: str = "medium"
    category: str = "environment"
    text: str = ""
    hold: int = 0
    clear_hold: int = 0
    repeat: int = 900 * 10**9


class Condition(Protocol):
    """A rule's eye: remembers what it must of the numbers seen, in bounded memory."""

    def see(self, ns: int, value: float | None) -> bool | None:
        """A usable reading came; `value` is None where it is no number."""
        ...

    def wait(self, ns: int) -> bool | None:
        """No reading came until now."""
        ...


def condition_of(kind: Kind, ns: int) -> Condition:
    """A fresh condition that begins to watch at `ns`."""
    match kind:
        case Threshold():
            return _Threshold(kind)
        case Rate():
            return _Rate(kind)
        case Stuck():
            return _Stuck(kind)
        case Silence():
            return _Silence(kind, ns)


class _Threshold:
    def __init__(self, kind: Threshold) -> None:
        self._sign = 1.0 if kind.up else -1.0
        self._limit, self._clear = kind.limit * self._sign, kind.clear * self._sign

    def see(self, ns: int, value: float | None) -> bool | None:
        if value is None:
            return None
        value *= self._sign
        if value >= self._limit:
            return True
        return False if value <= self._clear else None

    def wait(self, ns: int) -> bool | None:
        return None


class _Rate:
    """The largest rise to the newest value from any within the interval, to a sixtieth of the interval.

    Each part of the interval keeps its lowest value, so memory does not depend on how often a point is read. The part
    that is half outside still counts whole: a rise may be seen over up to one part more than the interval.
    """

    def __init__(self, kind: Rate) -> None:
        self._kind = kind
        self._sign = 1.0 if kind.up else -1.0
        self._part = max(1, kind.over // BUCKETS)
        self._lows: deque[tuple[int, float]] = deque()
        self._began: int | None = None

    def see(self, ns: int, value: float | None) -> bool | None:
        if value is None:
            return None
        value *= self._sign
        if self._began is None:
            self._began = ns
        part = ns // self._part
        oldest = (ns - self._kind.over) // self._part
        while self._lows and self._lows[0][0] < oldest:
            self._lows.popleft()
        change = value - min([low for _, low in self._lows], default=value)
        if self._lows and self._lows[-1][0] == part:
            self._lows[-1] = part, min(self._lows[-1][1], value)
        else:
            self._lows.append((part, value))
        if change >= self._kind.change:
            return True
        seen_whole = ns - self._began >= self._kind.over
        return False if change <= self._kind.clear and seen_whole else None

    def wait(self, ns: int) -> bool | None:
        return None


class _Stuck:
    """Time that no reading covers proves nothing: after a pause of half of `after` it starts anew."""

    def __init__(self, kind: Stuck) -> None:
        self._kind = kind
        self._stand: tuple[float, int] | None = (
            None  # the value that it may be stuck at, since when
        )
        self._seen = 0

    def see(self, ns: int, value: float | None) -> bool | None:
        if value is None:
            return None
        stand, pause = self._stand, ns - self._seen
        self._seen = ns
        if stand is None:
            self._stand = value, ns
            return None
        if abs(value - stand[0]) > self._kind.tolerance:
            self._stand = value, ns
            return False
        if pause > self._kind.after // 2:
            self._stand = stand[0], ns
            return None
        return True if ns - stand[1] >= self._kind.after else None

    def wait(self, ns: int) -> bool | None:
        return None


class _Silence:
    def __init__(self, kind: Silence, ns: int) -> None:
        self._after = kind.after
        self._heard = ns

    def see(self, ns: int, value: float | None) -> bool | None:
        self._heard = ns
        return False

    def wait(self, ns: int) -> bool | None:
        return True if ns - self._heard >= self._after else None
