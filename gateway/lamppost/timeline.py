"""When was that, in UTC? The offsets of boots, learned at synchronisation and applied on the way out.

Pure but for one small durable file; reads no clock of its own. The rules, in the order in which they count:

1. *Synced.* The first synchronised clock of a boot places all its samples, also those taken before.
2. *Corrected.* A clock that says something else for `CONFIRM`, synchronised and steady, is believed from then on. What
   lies before keeps its place: it may have been sent. A shorter step, back or forth, moves nothing.
3. *Holdover.* Samples taken `HOLDOVER_AFTER` or longer after the sync was lost are marked, and keep the offset.
4. *Floor.* No clock that stands before the time floor is believed, synchronised or not.
5. *Unsynced.* Under "wait", samples of boots that never synchronised wait until the running boot is synchronised; a
   running boot that is not holds back its own samples and those of such boots, never those of a boot that is placed.
   Under "send" they go out by what their boot believed, raised to the floor.
6. *Dead boots.* Once the running boot is synchronised, a boot that never was goes out `unsynced`: by its belief if
   that fits between floor and the start of the running boot, else as if it had ended where the running boot began.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamppost import RELEASED_NS
from lamppost.clock import Clock
from lamppost.files import durable_write
from lamppost.model import Instant, TimeQuality

_S = 10**9
KEPT_BOOTS = 64
KEPT_SPELLS = 32
STEP = _S // 2  # a smaller difference is drift, jitter or a leap smear
CONFIRM = 600 * _S
HOLDOVER_AFTER = 3600 * _S
SEEN_EVERY = 300 * _S
FLOOR_EVERY = 3600 * _S
SLACK = 3600 * _S  # a small step back after a receipt is no clock that stands in the past
FLOOR_LEAP = (
    366 * 86400 * _S
)  # further ahead than this, only a clock that stood a day raises the floor
FLOOR_LEAP_STEADY = 86400 * _S
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot. All numbers are nanoseconds; instants are CLOCK_BOOTTIME, offsets UTC minus CLOCK_BOOTTIME.

    `pieces` are (from, offset) in order, empty while never synchronised. `belief` is the offset of the clock as it
    was found, `least` the one that the time floor of that moment leaves possible, `seen` the newest instant noted.
    `spells` of holdover are (from, to), the open one with to = -1.
    """

    belief: int
    least: int
    seen: int = 0
    pieces: tuple[tuple[int, int], ...] = ()
    spells: tuple[tuple[int, int], ...] = ()

    @property
    def guess(self) -> int:
        """The offset of a boot that never synchronised: its belief, raised to the floor."""
        return max(self.belief, self.least)

    def piece(self, ns: int) -> int:
        """Which piece places instant `ns`; the first one reaches back to the start of the boot."""
        return max(sum(begin <= ns for begin, _ in self.pieces) - 1, 0)

    def quality(self, ns: int) -> TimeQuality:
        """Synced or holdover."""
        over = any(begin <= ns and (end < 0 or ns < end) for begin, end in self.spells)
        return TimeQuality.HOLDOVER if over else TimeQuality.SYNCED


class Timeline:
    """Boots by id, kept in `path` so that samples of earlier boots find their true time.

    `learn` and `proved` belong to one thread; `utc` and `clock_of` may be called from another.
    """

    def __init__(self, path: Path, *, send_unsynced: bool) -> None:
        self._path = path
        self._send_unsynced = send_unsynced
        self._running = ""
        self._behind = False
        self._boots, self._floor = _load(path)
        self._lost_since: int | None = None
        self._doubt: tuple[int, int] | None = None  # (instant first seen, offset) of another offset
        self._strangers: dict[str, int] = {}

    @property
    def floor(self) -> int:
        """UTC nanoseconds that have passed for certain."""
        return self._floor

    @property
    def state(self) -> str:
        """How the clock is, in one word: synced, holdover, unsynced, behind-floor."""
        boot = self._boots.get(self._running)
        if self._behind:
            return "behind-floor"
        if boot is None or not boot.pieces:
            return "unsynced"
        return "holdover" if boot.spells and boot.spells[-1][1] < 0 else "synced"

    def utc(self, at: Instant) -> tuple[int, TimeQuality] | None:
        """UTC nanoseconds and their quality, or None while they are awaited."""
        boot = self._boots.get(at.boot)
        if boot is not None and boot.pieces:
            return at.ns + boot.pieces[boot.piece(at.ns)][1], boot.quality(at.ns)
        running = self._boots.get(self._running)
        if running is not None and running.pieces:
            start = running.pieces[0][1]
            return min(at.ns + self._dead(at, boot, start), start), TimeQuality.UNSYNCED
        if not self._send_unsynced or boot is None:
            return None
        return at.ns + boot.guess, TimeQuality.UNSYNCED

    def soonest(self, at: Instant) -> tuple[int, TimeQuality]:
        """As `utc`, but what may not wait goes by what its boot believes, marked `unsynced`."""
        placed = self.utc(at)
        if placed is not None:
            return placed
        boot = self._boots.get(at.boot)
        return (at.ns + boot.guess if boot else self._floor), TimeQuality.UNSYNCED

    def clock_of(self, at: Instant) -> tuple[str, int]:
        """Which clock placed an instant; two instants of one clock are in order and as far apart as they say."""
        boot = self._boots.get(at.boot)
        return at.boot, boot.piece(at.ns) if boot else 0

    def learn(self, clock: Clock) -> bool:
        """Look at `clock`, at least every few seconds; returns whether the running boot became placed or moved."""
        now, utc = clock.now(), clock.utc()
        synced = clock.synced()
        self._running = now.boot
        known = self._boots.get(now.boot)
        boot = known or Boot(utc - now.ns, self._floor - now.ns, now.ns)
        self._behind = utc < self._floor - SLACK
        trusted = synced and not self._behind
        boot = self._spelled(boot, now.ns, trusted)
        if trusted:
            boot = self._placed(boot, now.ns, utc - now.ns)
        elif not boot.pieces:
            boot = self._believed(boot, now.ns, utc - now.ns)
        if boot == known:
            return False
        moved = boot.pieces != (known.pieces if known else ())
        self._boots = {**self._boots, now.boot: boot}
        self._save()
        return moved or known is None

    def proved(self, now: Instant) -> None:
        """Something signed elsewhere arrived at `now` (a receipt): if the clock is synced, the floor may rise to it."""
        placed, boot = self.utc(now), self._boots.get(now.boot)
        if placed is None or boot is None or self.state != "synced" or self._doubt is not None:
            return
        leap, steady = placed[0] - self._floor, now.ns - boot.pieces[-1][0]
        if leap >= FLOOR_EVERY and (leap <= FLOOR_LEAP or steady >= FLOOR_LEAP_STEADY):
            self.raise_floor(placed[0])

    def raise_floor(self, utc: int) -> None:
        """`utc` (nanoseconds) has passed: someone trusted says so, such as accepted metadata. It never goes back."""
        if utc > self._floor:
            self._floor = utc
            self._save()

    def _dead(self, at: Instant, boot: Boot | None, start: int) -> int:
        """The offset of a boot that never synchronised, seen from one that began at `start`."""
        if (
            boot is None
        ):  # its record is lost: as if its oldest sample had been taken when this boot began
            return start - self._strangers.setdefault(at.boot, at.ns)
        fits = boot.least <= boot.belief <= start - boot.seen
        return boot.belief if fits else start - boot.seen

    def _spelled(self, boot: Boot, ns: int, trusted: bool) -> Boot:
        """Holdover begins and ends."""
        is_open = bool(boot.spells) and boot.spells[-1][1] < 0
        if trusted:
            self._lost_since = None
            if is_open:
                ended = (*boot.spells[:-1], (boot.spells[-1][0], ns))
                return replace(boot, spells=ended[-KEPT_SPELLS:])
        elif boot.pieces and not is_open:
            self._lost_since = ns if self._lost_since is None else self._lost_since
            if ns - self._lost_since >= HOLDOVER_AFTER:
                return replace(boot, spells=(*boot.spells, (ns, -1)))
        return boot

    def _placed(self, boot: Boot, ns: int, offset: int) -> Boot:
        """The offset that a synchronised clock gives, taken at once or after it stood the test."""
        if not boot.pieces:
            return replace(boot, pieces=((ns, offset),))
        if abs(offset - boot.pieces[-1][1]) <= STEP:
            self._doubt = None
        elif self._doubt is None or abs(offset - self._doubt[1]) > STEP:
            self._doubt = ns, offset
        elif ns - self._doubt[0] >= CONFIRM:
            self._doubt = None
            return replace(boot, pieces=(*boot.pieces, (ns, offset)))
        return boot

    def _believed(self, boot: Boot, ns: int, offset: int) -> Boot:
        """How far an unsynchronised boot has come, noted seldom; a step from behind the floor to past it counts."""
        if boot.belief < boot.least <= offset:
            return replace(boot, belief=offset, seen=ns)
        return replace(boot, seen=ns) if ns - boot.seen >= SEEN_EVERY else boot

    def _save(self) -> None:
        recent = dict(list(self._boots.items())[-KEPT_BOOTS:])
        self._boots = recent
        boots = {
            name: [b.belief, b.least, b.seen, b.pieces, b.spells] for name, b in recent.items()
        }
        content = {"v": _FORMAT, "floor": self._floor, "boots": boots}
        durable_write(self._path, json.dumps(content, indent=1).encode())


def _load(path: Path) -> tuple[dict[str, Boot], int]:
    """Boots and floor. A damaged file keeps nobody from starting; samples of earlier boots are then `unsynced`."""
    try:
        stored = json.loads(path.read_bytes())
        if "v" not in stored:
            return {name: _first_format(*entry) for name, entry in stored.items()}, RELEASED_NS
        boots = {name: _boot(entry) for name, entry in stored["boots"].items()}
        return boots, max(int(stored["floor"]), RELEASED_NS)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}, RELEASED_NS


def _boot(entry: list[Any]) -> Boot:
    belief, least, seen, pieces, spells = entry
    return Boot(
        int(belief),
        int(least),
        int(seen),
        tuple((int(begin), int(offset)) for begin, offset in pieces),
        tuple((int(begin), int(end)) for begin, end in spells),
    )


def _first_format(offset: int, quality: str) -> Boot:
    """Format 1 knew one offset a boot, and whether it was synchronised."""
    synced = TimeQuality(quality) is TimeQuality.SYNCED
    return Boot(int(offset), int(offset), pieces=((0, int(offset)),) if synced else ())
