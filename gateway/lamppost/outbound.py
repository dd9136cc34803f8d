"""ring → aggregate → ngsild → envelope → ring: seals what is due, once, and leaves it in the ring to be sent.

A batch covers whole windows of a contiguous range of reading numbers. The same range, configuration and previous
batch always give the same entities. Runs on the ring's thread; knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson

from lamppost.aggregate import Carry, Deferred, reduce_windows
from lamppost.aggregate.parts import settle_parts, widened
from lamppost.envelope.identity import Identity
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import GENESIS, Header, Sealed, plain, seal
from lamppost.errors import StoreError
from lamppost.model import Batch, Instant, Severity, Span, Window
from lamppost.ngsild.entities import Entity, device_entities, entities_of, model_entities
from lamppost.ngsild.personal import Personal, carried_entities
from lamppost.ngsild.reduced import reduced_entities
from lamppost.ngsild.site import DeviceState, SitePlan
from lamppost.portion import Portion, Portions, Until
from lamppost.reduction import Reduction
from lamppost.ring import Ring
from lamppost.timeline import Timeline

_TOO_BIG = ("envelope.too-big", "ring.batch-too-big")

DEVICES_EVERY = 16  # batches; in between only devices whose state has changed are described


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
        configuration: Callable[[], Mapping[str, Any]] = dict,
        reduction: Reduction | None = None,
    ) -> None:
        self._personal = personal or Personal()
        self._configuration = configuration
        self._plan = plan
        self._outside = self._personal.outside(plan)
        self._kinds = kinds
        self._timeline = timeline
        self._width = self._least_width = round(window * 1e9)
        self._grace = round(grace * 1e9)
        self._refused: int | None = None  # so many batches in flight were too many for the ring
        self._portions = Portions(timeline, self._width, reduction)

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
        if self._refused is not None and len(ring.held()) >= self._refused:
            return 0  # as many batches in flight as the ring has room for
        self._refused = None
        until = self._until(now, flush)
        sealed = 0
        try:
            while sealed < at_most and self._seal_fitting(ring, identity, until):
                sealed += 1
        except StoreError as full:
            if full.code != "ring.held-full":
                raise
            self._refused = len(ring.held())
        return sealed

    def pace(self, *, readings: int, window: float) -> None:
        """From now on a batch of a backlog holds about `readings`, and windows are `window` seconds long at least."""
        self._width = max(self._least_width, round(window * 1e9))
        self._portions.pace(self._width, readings)

    def _until(self, now: Instant, flush: bool) -> Until:
        placed = self._timeline.utc(now)
        if placed is None:
            return Until(now, None, None, None)
        utc, _ = placed
        closed = (utc - self._grace) // self._width * self._width
        return Until(now, utc, utc + self._width if flush else closed, closed)

    def _seal_fitting(self, ring: Ring, identity: Identity | None, until: Until) -> bool:
        """Seal the next batch, of fewer readings where it would be larger than an envelope or the ring can take."""
        while True:
            try:
                return self._seal_next(ring, identity, until)
            except (EnvelopeError, StoreError) as large:
                if large.code not in _TOO_BIG or not self._portions.halve():
                    raise

    def _seal_next(self, ring: Ring, identity: Identity | None, until: Until) -> bool:
        head = ring.head()
        after = head.span.last if head else -1
        portion = self._portions.next(ring, after, until)
        if portion is None:
            return False
        span = Span(after + 1, portion.last)
        carry, deferred = _state_of(head)
        windows, carry, kept = self._reduce(portion, carry, deferred)
        if not windows and not portion.gaps and not portion.full:
            return False  # all of it joins windows of personal devices that are still open
        seq, told, states = head.seq + 1 if head else 0, _told_of(head), _states(windows)
        news = None if seq % DEVICES_EVERY == 0 else _news(states, told)
        payload = self._payload(windows, portion, ring.epoch, states, news)
        payload += carried_entities(self._plan.gateway, ring.epoch, deferred.count, kept.count)
        sealed = self._seal(orjson.dumps(payload), span, ring.epoch, head, identity)
        ring.hold(
            Batch(
                epoch=ring.epoch,
                seq=seq,
                span=span,
                digest=sealed.digest,
                leaf=sealed.leaf,
                message=sealed.message,
                state=_state(carry, kept, told | _words(states), direct=identity is None),
            )
        )
        return True

    def _reduce(
        self, portion: Portion, carry: Carry, deferred: Deferred
    ) -> tuple[list[Window], Carry, Deferred]:
        """The windows that leave with this batch, and what the next one must know."""
        hidden, samples, parts = self._personal, portion.samples, portion.parts
        if not hidden and not deferred.windows:
            coarse, carry = settle_parts(parts, carry)
            windows, carry = reduce_windows(samples, self._width, self._kinds, carry)
            return coarse + windows, carry, deferred
        coarse, after = settle_parts((p for p in parts if p.part.device not in hidden.names), carry)
        plain = [t for t in samples if t.sample.device not in hidden.names]
        windows, after = reduce_windows(plain, self._width, self._kinds, after)
        mine = widened([p for p in parts if p.part.device in hidden.names], hidden.width)
        taken, after = settle_parts(mine, after)
        own = [t for t in samples if t.sample.device in hidden.names]
        more, after = reduce_windows(own, hidden.width, self._kinds, after)
        closed, kept = deferred.with_parts(taken + more).closed(portion.reach)
        return coarse + windows + [hidden.mask(w) for w in closed], after, kept

    def _payload(
        self,
        windows: Sequence[Window],
        portion: Portion,
        epoch: str,
        states: Mapping[str, DeviceState],
        news: Collection[str] | None,
    ) -> list[Entity]:
        """The entities of a batch. `news`: devices in another state than was told last; None tells of all."""
        at = max([w.observed for w in windows], default=portion.newest)
        entities = entities_of(windows, self._outside, portion.gaps, epoch=epoch)
        ranges = [(r.span.first, r.span.last, r.readings, r.width) for r in portion.reduced]
        entities += reduced_entities(self._plan.gateway, epoch, ranges)
        entities += device_entities(self._outside, states, at, self._configuration(), news)
        if news is None:
            entities += model_entities(self._outside)
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


def _state_of(head: Batch | None) -> tuple[Carry, Deferred]:
    """What the newest batch left for the next one. State of another version gives what it can."""
    if head is None or not head.state:
        return Carry(), Deferred()
    try:
        deferred = Deferred.from_plain(orjson.loads(head.state).get("deferred", ()))
    except (ValueError, TypeError, KeyError, AttributeError):
        deferred = Deferred()
    return Carry.from_bytes(head.state), deferred


def _state(carry: Carry, deferred: Deferred, told: Mapping[str, str], *, direct: bool) -> bytes:
    more: dict[str, object] = {"deferred": deferred.to_plain()} if deferred.windows else {}
    if told:
        more["told"] = dict(sorted(told.items()))
    if direct:
        more["direct"] = True
    return orjson.dumps(orjson.loads(carry.to_bytes()) | more) if more else carry.to_bytes()


def _told_of(head: Batch | None) -> dict[str, str]:
    """The state that was last told of each device."""
    try:
        found = orjson.loads(head.state).get("told", {}) if head is not None and head.state else {}
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(states: Mapping[str, DeviceState]) -> dict[str, str]:
    return {name: state.state for name, state in states.items()}


def _news(states: Mapping[str, DeviceState], told: Mapping[str, str]) -> set[str]:
    return {name for name, word in _words(states).items() if told.get(name) != word}


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
