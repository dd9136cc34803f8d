"""acquire → live values → alert ring: the newest readings, once a window, while a backlog keeps their windows waiting.

The readings' batches are one chain, so after an outage today's windows come after all others. Live values go ahead of
it by the alert stream: they are for a current state, count no reading, and take nothing from the chain
(docs/adr/0012-live-values-take-the-alert-stream.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from lamppost.clock import Clock
from lamppost.model import Instant, Reading, Sample, Scalar, Severity, Window
from lamppost.packing import pack, read
from lamppost.ring import Ring
from lamppost.ring.offloop import OffLoop
from lamppost.timeline import Timeline
from lamppost.uplink import LONG_WINDOW, Thrift

MARK = b"\x01live"  # an alert begins with {
LEAST_BEHIND = 10.0  # seconds: with shorter windows, a reconnection is no backlog
RECORD_BYTES = 8 * 1024  # so that an alert never waits long behind one on a slow line
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class Newest:
    """The newest reading of every point; none of `hidden` devices: of personal ones nothing momentary leaves."""

    def __init__(self, hidden: Collection[str] = ()) -> None:
        self._hidden = frozenset(hidden)
        self._points: dict[str, dict[str, tuple[Instant, Reading]]] = {}
        self._fresh: dict[str, Instant] = {}  # devices read since `taken`, and when last

    def note(self, sample: Sample) -> None:
        """A sample was taken. One that comes late replaces nothing newer."""
        if sample.device in self._hidden:
            return
        points = self._points.setdefault(sample.device, {})
        for reading in sample.readings:
            known = points.get(reading.point)
            if known is None or known[0].boot != sample.at.boot or known[0].ns <= sample.at.ns:
                points[reading.point] = sample.at, reading
        last = self._fresh.get(sample.device)
        if last is None or last.boot != sample.at.boot or last.ns < sample.at.ns:
            self._fresh[sample.device] = sample.at

    def take(self, width: int) -> list[Sample]:
        """Samples of all devices read since the last time; a point is in them if it was read in the last `width` ns
        of its device."""
        found: list[Sample] = []
        for device, newest in sorted(self._fresh.items()):
            at: dict[Instant, list[Reading]] = {}
            for moment, reading in self._points[device].values():
                if moment.boot == newest.boot and moment.ns > newest.ns - width:
                    at.setdefault(moment, []).append(reading)
            found += [Sample(device, moment, tuple(found)) for moment, found in at.items()]
        self._fresh = {}
        return found


def pack_live(samples: Iterable[Sample]) -> Iterator[bytes]:
    """Records for the alert ring, each of about `RECORD_BYTES` at most. A sample that cannot be packed is left out."""
    group: list[bytes] = []
    size = 0
    for sample in samples:
        try:
            packed = pack(sample)
        except ValueError:
            continue
        if group and size + len(packed) > RECORD_BYTES:
            yield MARK + _encode(group)
            group, size = [], 0
        group.append(packed)
        size += len(packed)
    if group:
        yield MARK + _encode(group)


def is_live(payload: bytes) -> bool:
    """Whether a record of the alert ring holds live values, and no alert."""
    return payload.startswith(MARK)


def samples_of(payload: bytes) -> list[Sample]:
    """The samples of a record. Raises ValueError for what `pack_live` has not written."""
    try:
        return [read(packed) for packed in _decode(payload[len(MARK) :])]
    except msgspec.MsgspecError as problem:
        raise ValueError(f"not live values: {problem}") from None


def windows_of(samples: Sequence[Sample], timeline: Timeline) -> list[Window]:
    """Every reading as a window of its own, with start and end 0: the mapping's input."""
    found = []
    for sample in samples:
        utc, trust = timeline.soonest(sample.at)
        for reading in sample.readings:
            value, quality = _usable(reading), reading.quality
            severity = quality.severity
            found.append(
                Window(
                    device=sample.device,
                    point=reading.point,
                    start=0,
                    end=0,
                    observed=utc,
                    time_quality=trust,
                    quality=quality,
                    good=int(severity is Severity.GOOD),
                    uncertain=int(severity is Severity.UNCERTAIN),
                    bad=int(severity is Severity.BAD),
                    last=value,
                )
            )
    return found


def behind(ring: Ring, timeline: Timeline, now: Instant, width: int, grace: int) -> bool:
    """Whether a reading waits for its receipt whose window closed more than one window ago (`width`, `grace` in ns).

    Runs on the ring's thread. False while the clock of the running boot, or of that reading's, is unknown.
    """
    placed = timeline.utc(now)
    waiting = ring.read(ring.settled_through, 1)
    if placed is None or not waiting:
        return False
    try:
        oldest = timeline.utc(read(waiting[0].payload).at)
    except ValueError:
        return False
    closed = (placed[0] - grace) // width * width
    return oldest is not None and oldest[0] < closed - width


def width_of(window: float, thrift: Thrift) -> int | None:
    """Nanoseconds between live values at a site with windows of `window` seconds; None where the month's bytes are
    kept for alerts.
    """
    if thrift is Thrift.ALERTS_ONLY:
        return None
    least = LONG_WINDOW if thrift is Thrift.LONGER_WINDOWS else LEAST_BEHIND
    return round(max(window, least) * 1e9)


class Way(Protocol):
    """What `alerting.Alerting` does."""

    @property
    def carries_live(self) -> bool:
        """Whether the last ones are not proved yet."""
        ...

    async def carry(self, records: Sequence[bytes]) -> None:
        """Store, seal, and tell the uplink."""
        ...


class LiveValues:
    """Once a window: look whether there is a backlog, and if so send what is newest. At most one lot is unsettled.

    `width` gives the nanoseconds of a window at present, None while nothing may be sent (no connection, or the month's
    bytes are used up).
    """

    def __init__(
        self,
        ring: OffLoop,
        way: Way,
        timeline: Timeline,
        clock: Clock,
        *,
        grace: float,
        hidden: Collection[str],
        width: Callable[[], int | None],
    ) -> None:
        self._ring = ring
        self._way = way
        self._timeline = timeline
        self._clock = clock
        self._grace = round(grace * 1e9)
        self._newest = Newest(hidden)
        self._width = width
        self._due = 0.0

    def note(self, sample: Sample) -> None:
        """A sample was taken."""
        self._newest.note(sample)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + 1.0)
            await self.look()

    async def look(self) -> None:
        """Send live values if they are due."""
        width, now = self._width(), self._clock.monotonic()
        if width is None or now < self._due or self._way.carries_live:
            return
        self._due = now + width / 1e9
        at = self._clock.now()
        if not await self._ring.call(lambda r: behind(r, self._timeline, at, width, self._grace)):
            return
        if records := list(pack_live(self._newest.take(width))):
            await self._way.carry(records)


def _usable(reading: Reading) -> Scalar | None:
    value = reading.value
    if reading.quality.severity is Severity.BAD:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
