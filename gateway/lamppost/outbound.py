"""ring → aggregate → ngsild → envelope → ring: seals what is due, once, and leaves it in the ring to be sent.

A batch covers whole windows of a contiguous range of reading numbers. The same range, configuration and previous
batch always give the same entities. Runs on the ring's thread; knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.envelope.identity import Identity
from lamppost.envelope.seal import GENESIS, Header, Sealed, seal
from lamppost.model import Batch, Gap, Instant, Severity, Span, Window
from lamppost.ngsild.entities import device_entities, entities_of
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


@dataclass(frozen=True, slots=True)
class Until:
    """Now, by the boot clock and in UTC, and the end of the newest closed window (nanoseconds).

    Both are None while the clock of the running boot is unknown: then only what earlier boots left is due.
    """

    now: Instant
    utc: int | None
    boundary: int | None

    def due(self, at: Instant, utc: int) -> bool:
        """Whether a sample taken at `at` and placed at `utc` may go: nothing can join its window any more.

        A sample that lies ahead of now was placed by a clock since corrected; waiting would not close its window.
        """
        if self.utc is None or self.boundary is None:
            return at.boot != self.now.boot
        ahead = utc > self.utc and (at.boot != self.now.boot or at.ns <= self.now.ns)
        return utc < self.boundary or ahead


class Outbound:
    """Seals batches for one site. `kinds` tells gauges from counters by (device, point)."""

    def __init__(
        self,
        plan: SitePlan,
        kinds: Mapping[tuple[str, str], str],
        timeline: Timeline,
        *,
        window: float,
        grace: float,
    ) -> None:
        self._plan = plan
        self._kinds = kinds
        self._timeline = timeline
        self._width = round(window * 1e9)
        self._grace = round(grace * 1e9)

    def seal_due(
        self, ring: Ring, identity: Identity, now: Instant, *, at_most: int, flush: bool = False
    ) -> int:
        """Seal the batches that are due at `now`, at most so many; with `flush` also windows still open.

        Returns how many were sealed. Each is durable in the ring when this returns.
        """
        until = self._until(now, flush)
        sealed = 0
        while sealed < at_most and self._seal_next(ring, identity, until):
            sealed += 1
        return sealed

    def _until(self, now: Instant, flush: bool) -> Until:
        placed = self._timeline.utc(now)
        if placed is None:
            return Until(now, None, None)
        utc, _ = placed
        closed = (utc - self._grace) // self._width * self._width
        return Until(now, utc, utc + self._width if flush else closed)

    def _seal_next(self, ring: Ring, identity: Identity, until: Until) -> bool:
        head = ring.head()
        after = head.span.last if head else -1
        portion = self._portion(_records(ring, after), until)
        if portion is None:
            return False
        span = Span(after + 1, portion.last)
        gaps = [g for g in ring.gaps(after) if g.span.first <= portion.last]
        carry = Carry.from_bytes(head.state) if head and head.state else Carry()
        windows, carry = reduce_windows(portion.samples, self._width, self._kinds, carry)
        sealed = self._seal(
            self._payload(windows, gaps, ring.epoch), span, ring.epoch, head, identity
        )
        ring.hold(
            Batch(
                epoch=ring.epoch,
                seq=head.seq + 1 if head else 0,
                span=span,
                digest=sealed.digest,
                leaf=sealed.leaf,
                message=sealed.message,
                state=carry.to_bytes(),
            )
        )
        return True

    def _portion(self, records: Iterator[Stored], until: Until) -> Portion | None:
        """Records up to the first one that is not due, or up to the end of a window or clock in a long backlog."""
        samples: list[Timed] = []
        last, readings, newest, clock = -1, 0, 0, ("", 0)
        for record in records:
            sample = unpack(record.payload)
            placed = self._timeline.utc(sample.at)
            if placed is None or not until.due(sample.at, placed[0]):
                break
            window, by = placed[0] // self._width, self._timeline.clock_of(sample.at)
            if readings >= BATCH_READINGS and (window > newest or by != clock):
                break
            newest = max(newest, window) if by == clock else window
            clock = by
            samples.append(Timed(sample, *placed))
            last = record.span.last
            readings += record.span.count
        return Portion(samples, last) if samples else None

    def _payload(self, windows: Sequence[Window], gaps: Sequence[Gap], epoch: str) -> bytes:
        at = max(w.observed for w in windows)
        entities = entities_of(windows, self._plan, gaps, epoch=epoch)
        entities += device_entities(self._plan, _states(windows), at)
        return orjson.dumps(entities)

    def _seal(
        self, payload: bytes, span: Span, epoch: str, head: Batch | None, identity: Identity
    ) -> Sealed:
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
