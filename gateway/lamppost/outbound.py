"""ring → aggregate → ngsild → envelope → ring: seals what is due, once, and leaves it in the ring to be sent.

A batch covers whole windows of a contiguous range of reading numbers. The same range, configuration and previous
batch always give the same entities. Runs on the ring's thread; knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from lamppost.aggregate import Carry, Deferred, Timed, reduce_windows
from lamppost.envelope.identity import Identity
from lamppost.envelope.seal import GENESIS, Header, Sealed, plain, seal
from lamppost.model import Batch, Gap, Instant, Severity, Span, Window
from lamppost.ngsild.entities import Entity, device_entities, entities_of
from lamppost.ngsild.personal import Personal, carried_entities
from lamppost.ngsild.site import DeviceState, SitePlan
from lamppost.packing import unpack
from lamppost.ring import Ring, Stored
from lamppost.timeline import Timeline

READ_BYTES = 256 * 1024
BATCH_READINGS = 4_000  # a backlog goes out in batches of at least this many, cut at a window's end


@dataclass(frozen=True, slots=True)
class Portion:
    """The readings of one batch: timed samples of whole windows, and the last number they reach."""

    samples: list[Timed]
    last: int
    newest: int  # UTC of the newest sample
    reach: int | None  # UTC before which nothing more will come; None while unknown
    full: bool  # must go, even if it closes no window


@dataclass(frozen=True, slots=True)
class Until:
    """Now, by the boot clock and in UTC, and where what is due ends (nanoseconds); `closed` is the end of the newest
    closed window, which `boundary` passes when open windows are flushed.

    All are None while the clock of the running boot is unknown: then only what earlier boots left is due.
    """

    now: Instant
    utc: int | None
    boundary: int | None
    closed: int | None

    def due(self, at: Instant, utc: int) -> bool:
        """Whether a sample taken at `at` and placed at `utc` may go: nothing can join its window any more.

        A sample that lies ahead of now was placed by a clock since corrected; waiting would not close its window.
        """
        if self.utc is None or self.boundary is None:
            return at.boot != self.now.boot
        ahead = utc > self.utc and (at.boot != self.now.boot or at.ns <= self.now.ns)
        return utc < self.boundary or ahead


class Outbound:
    """Seals batches for one site. `kinds` tells gauges from counters by (device, point).

    The windows of `personal` devices are longer than a batch: what they add up to waits in the state of the batches
    (`aggregate.deferred`) and leaves, masked, with the batch in which the window has ended; a flush leaves them open.
    """

    def __init__(
        self,
        plan: SitePlan,
        kinds: Mapping[tuple[str, str], str],
        timeline: Timeline,
        *,
        window: float,
        grace: float,
        personal: Personal | None = None,
    ) -> None:
        self._personal = personal or Personal()
        self._plan = plan
        self._outside = self._personal.outside(plan)
        self._kinds = kinds
        self._timeline = timeline
        self._width = round(window * 1e9)
        self._grace = round(grace * 1e9)

    def seal_due(
        self,
        ring: Ring,
        identity: Identity | None,
        now: Instant,
        *,
        at_most: int,
        flush: bool = False,
    ) -> int:
        """Seal the batches that are due at `now`, at most so many; with `flush` also windows still open.

        Without an identity (direct mode) they are compressed only. Returns how many were sealed. Each is durable in
        the ring when this returns.
        """
        until = self._until(now, flush)
        sealed = 0
        while sealed < at_most and self._seal_next(ring, identity, until):
            sealed += 1
        return sealed

    def _until(self, now: Instant, flush: bool) -> Until:
        placed = self._timeline.utc(now)
        if placed is None:
            return Until(now, None, None, None)
        utc, _ = placed
        closed = (utc - self._grace) // self._width * self._width
        return Until(now, utc, utc + self._width if flush else closed, closed)

    def _seal_next(self, ring: Ring, identity: Identity | None, until: Until) -> bool:
        head = ring.head()
        after = head.span.last if head else -1
        portion = self._portion(_records(ring, after), until)
        if portion is None:
            return False
        span = Span(after + 1, portion.last)
        gaps = [g for g in ring.gaps(after) if g.span.first <= portion.last]
        carry, deferred = _state_of(head)
        windows, carry, kept = self._reduce(portion, carry, deferred)
        if not windows and not gaps and not portion.full:
            return False  # all of it joins windows of personal devices that are still open
        payload = self._payload(windows, gaps, ring.epoch, portion.newest)
        payload += carried_entities(self._plan.gateway, ring.epoch, deferred.count, kept.count)
        sealed = self._seal(orjson.dumps(payload), span, ring.epoch, head, identity)
        ring.hold(
            Batch(
                epoch=ring.epoch,
                seq=head.seq + 1 if head else 0,
                span=span,
                digest=sealed.digest,
                leaf=sealed.leaf,
                message=sealed.message,
                state=_state(carry, kept, direct=identity is None),
            )
        )
        return True

    def _reduce(
        self, portion: Portion, carry: Carry, deferred: Deferred
    ) -> tuple[list[Window], Carry, Deferred]:
        """The windows that leave with this batch, and what the next one must know."""
        hidden = self._personal
        if not hidden and not deferred.windows:
            windows, carry = reduce_windows(portion.samples, self._width, self._kinds, carry)
            return windows, carry, deferred
        plain = [t for t in portion.samples if t.sample.device not in hidden.names]
        own = [t for t in portion.samples if t.sample.device in hidden.names]
        windows, after = reduce_windows(plain, self._width, self._kinds, carry)
        parts, after = reduce_windows(own, hidden.width, self._kinds, after)
        closed, kept = deferred.with_parts(parts).closed(portion.reach)
        return windows + [hidden.mask(w) for w in closed], after, kept

    def _portion(self, records: Iterator[Stored], until: Until) -> Portion | None:
        """Records up to the first one that is not due, or up to the end of a window or clock in a long backlog."""
        samples: list[Timed] = []
        last, readings, newest, clock, reach = -1, 0, 0, ("", 0), until.closed
        for record in records:
            sample = unpack(record.payload)
            placed = self._timeline.utc(sample.at)
            if placed is None or not until.due(sample.at, placed[0]):
                break
            window, by = placed[0] // self._width, self._timeline.clock_of(sample.at)
            if readings >= BATCH_READINGS and (window > newest or by != clock):
                reach = min(placed[0], reach) if reach is not None else None
                break
            newest = max(newest, window) if by == clock else window
            clock = by
            samples.append(Timed(sample, *placed))
            last = record.span.last
            readings += record.span.count
        if not samples:
            return None
        return Portion(samples, last, samples[-1].utc, reach, readings >= BATCH_READINGS)

    def _payload(
        self, windows: Sequence[Window], gaps: Sequence[Gap], epoch: str, newest: int
    ) -> list[Entity]:
        at = max([w.observed for w in windows], default=newest)
        entities = entities_of(windows, self._outside, gaps, epoch=epoch)
        entities += device_entities(self._outside, _states(windows), at)
        return self._personal.placeless(entities)

    def _seal(
        self, payload: bytes, span: Span, epoch: str, head: Batch | None, identity: Identity | None
    ) -> Sealed:
        if identity is None:
            return plain(payload)
        header = Header(
            gateway=identity.gateway,
            aud=identity.hub,
            epoch=epoch,
            seq=head.seq + 1 if head else 0,
            prev=head.digest if head else GENESIS,
            first=span.first,
            count=span.count,
        )
        topic = f"lamppost/{identity.gateway}/up"
        return seal(payload, header, identity.signer, identity.hub_encryption, topic)


def _records(ring: Ring, after: int) -> Iterator[Stored]:
    while stored := ring.read(after, READ_BYTES):
        yield from stored
        after = stored[-1].span.last


def _state_of(head: Batch | None) -> tuple[Carry, Deferred]:
    """What the newest batch left for the next one. State of another version gives what it can."""
    if head is None or not head.state:
        return Carry(), Deferred()
    try:
        deferred = Deferred.from_plain(orjson.loads(head.state).get("deferred", ()))
    except (ValueError, TypeError, KeyError, AttributeError):
        deferred = Deferred()
    return Carry.from_bytes(head.state), deferred


def _state(carry: Carry, deferred: Deferred, *, direct: bool) -> bytes:
    more: dict[str, object] = {"deferred": deferred.to_plain()} if deferred.windows else {}
    if direct:
        more["direct"] = True
    return orjson.dumps(orjson.loads(carry.to_bytes()) | more) if more else carry.to_bytes()


def made_for_direct(batch: Batch) -> bool:
    """Whether a batch was made for direct mode, and not sealed for a hub."""
    try:
        return orjson.loads(batch.state).get("direct") is True
    except (ValueError, AttributeError):
        return False


def _states(windows: Sequence[Window]) -> dict[str, DeviceState]:
    """A device is in the state of its best window: one good point shows that it answers."""
    best: dict[str, Window] = {}
    for window in windows:
        known = best.get(window.device)
        if known is None or window.quality.severity < known.quality.severity:
            best[window.device] = window
    return {
        name: DeviceState(
            "ok" if w.quality.severity is not Severity.BAD else w.quality.reason, w.observed
        )
        for name, w in best.items()
    }
