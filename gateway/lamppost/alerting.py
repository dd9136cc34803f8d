"""acquire → alerts → ring → envelope: what a rule says passes the windows, sealed on its own and at once.

Alerts have a ring of their own and with it an own chain of batches (docs/formats/alert.md), so that they overtake a
backlog of readings without a gap in either. An alert is durable before it is sent, and kept until its receipt. Live
values (`live`) take the same way while there is a backlog, but give way to alerts where the ring is short of room.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from lamppost.alerts import Judge, Standing
from lamppost.alerts.configured import rules_of
from lamppost.clock import Clock
from lamppost.config.schema import Site
from lamppost.envelope.identity import Identity
from lamppost.envelope.pseudonym import SiteKey
from lamppost.envelope.seal import ALERT, GENESIS, Header, plain, seal, topic_of
from lamppost.errors import StoreError
from lamppost.files import durable_write
from lamppost.live import is_live, samples_of, windows_of
from lamppost.model import Alert, Batch, Gap, Instant, Sample, Span
from lamppost.ngsild.devices import Alarm, alert_entity
from lamppost.ngsild.entities import Entity, gap_entities
from lamppost.ngsild.momentary import live_entities
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import SitePlan
from lamppost.ring import Record, Ring, Stored
from lamppost.ring.offloop import OffLoop
from lamppost.timeline import Timeline

log = logging.getLogger("lamppost.alerting")

RING_BYTES = 1024**2  # some thousand alerts; the oldest give way, and that leaves a gap
MAX_HELD = 64  # sealed ahead of their receipts
BATCH_BYTES = 32 * 1024  # of alerts in one envelope, after a long time without an uplink
MAX_PENDING = 1000  # alerts in memory while the disk takes nothing
LOOK = 1.0  # seconds between two looks at what time alone raises
UNREADABLE = "unreadable"  # a gap's reason, as in `portion`
MADE_FOR_DIRECT = orjson.dumps(
    {"direct": True}
)  # as outbound marks a batch that is not sealed for a hub


@dataclass(frozen=True, slots=True)
class Wording:
    """How alerts are told outside: the site, the unit of each point, and what stands for personal devices and rules."""

    plan: SitePlan
    personal: Personal = field(default_factory=Personal)
    rules: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def alarm(self, alert: Alert, timeline: Timeline) -> Alarm:
        """The alert as the mapping takes it. Of a personal device neither names, text nor value leave."""
        said, trust = timeline.soonest(alert.at)
        since = said if alert.raised else min(timeline.soonest(alert.since)[0], said)
        hidden = self.personal.names.get(alert.device)
        unit = self.units.get((alert.device, alert.point), "")
        return Alarm(
            rule=self.rules.get(alert.rule, alert.rule),
            device=hidden or alert.device,
            issued=since,
            severity=alert.severity,
            text=(not hidden and alert.text) or "",
            category=alert.category,
            until=None if alert.raised else said,
            point="" if hidden else alert.point,
            value=None if hidden else alert.value,
            unit=unit,
            trust=trust,
            unsent=alert.unsent,
            why=alert.why,
        )

    def live(self, stored: Stored, timeline: Timeline, epoch: str) -> list[Entity]:
        """The entities of one record of live values."""
        windows = windows_of(samples_of(stored.payload), timeline)
        return live_entities(windows, self.plan, epoch, (stored.span.first, stored.span.last))

    def payload(self, alerts: Iterable[Alert], timeline: Timeline) -> list[Entity]:
        """The entities of one envelope of alerts."""
        entities = [alert_entity(self.plan, self.alarm(alert, timeline)) for alert in alerts]
        return self.personal.placeless(entities)


class Alerting:
    """The rules at work, and the way of what they say to the uplink.

    `identity` gives the gateway's identity once there is one, None before; in direct mode there never is one.
    `sealed` is called when a batch was held.
    """

    def __init__(
        self,
        judge: Judge,
        ring: OffLoop,
        wording: Wording,
        timeline: Timeline,
        clock: Clock,
        *,
        memory: Path,
        identity: Callable[[], Identity | None],
        sealed: Callable[[], None],
        direct: bool = False,
    ) -> None:
        self._direct = direct
        self._judge = judge
        self._ring = ring
        self._wording = wording
        self._timeline = timeline
        self._clock = clock
        self._memory = memory
        self._identity = identity
        self._sealed = sealed
        self._pending: deque[Alert] = deque(judge.restore(_read(memory)))
        self._wake = asyncio.Event()
        self._newest_live = ring.stats().last
        self.overflowed = 0

    def judge(self, sample: Sample) -> bool:
        """Judge a sample; True if an alert was raised or cleared by it, so that it is kept as its evidence."""
        said = self._judge.judge(sample)
        if said:
            self._take(said)
        return bool(said)

    def standing(self) -> list[Standing]:
        """The alerts that are raised now."""
        return self._judge.standing()

    async def run(self) -> None:
        """Make durable and seal what the rules say, until cancelled."""
        while True:
            await self._rest()
            self._take(self._judge.tick(self._clock.now()))
            await self.flush()

    async def flush(self) -> None:
        """Store and seal what was said so far. A failing disk keeps it for the next time."""
        try:
            if self._pending:
                await self._store()
            await self._seal()
        except StoreError as failed:
            log.error("%s: %s; %s", failed.code, failed, failed.hint)

    @property
    def carries_live(self) -> bool:
        """Whether live values are on their way, and not proved yet."""
        return self._ring.stats().settled_through < self._newest_live

    async def carry(self, records: Sequence[bytes]) -> None:
        """Send live values (`live.pack`) the way of the alerts; where room is short, they go before any of those."""
        await self.flush()
        try:
            stored = await self._ring.append([Record(1, payload) for payload in records])
            self._newest_live = stored.last
        except StoreError as failed:
            log.error("%s: %s; %s", failed.code, failed, failed.hint)
        await self.flush()

    def _take(self, said: Sequence[Alert]) -> None:
        for alert in said:
            word = "raised" if alert.raised else "cleared"
            log.warning("alert %s %s (%s)", alert.rule, word, alert.severity)
            if len(self._pending) >= MAX_PENDING:
                self._pending.popleft()
                self.overflowed += 1
            self._pending.append(alert)
            self._wake.set()

    async def _rest(self) -> None:
        """Until something was said, at most `LOOK`."""
        signal = asyncio.create_task(self._wake.wait())
        later = asyncio.create_task(self._clock.sleep_until(self._clock.monotonic() + LOOK))
        try:
            await asyncio.wait({signal, later}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (signal, later):
                task.cancel()
            await asyncio.gather(signal, later, return_exceptions=True)
        self._wake.clear()

    async def _store(self) -> None:
        group = list(self._pending)
        state = orjson.dumps(self._judge.plain(self._clock.now()))
        await self._ring.append([Record(1, pack_alert(alert), urgent=True) for alert in group])
        for _ in group:
            self._pending.popleft()
        await self._ring.call(lambda _: _write(self._memory, state))

    async def _seal(self) -> None:
        who, room = self._identity(), MAX_HELD - len(self._ring.held())
        if (who is None and not self._direct) or room <= 0:
            return
        sealed = await self._ring.call(
            lambda ring: seal_alerts(ring, who, self._wording, self._timeline, at_most=room)
        )
        if sealed:
            self._sealed()


class AlertOutbox:
    """The alert ring as the sender sees it: its epochs are named as the alert stream's."""

    def __init__(self, ring: OffLoop) -> None:
        self._ring = ring

    def held(self) -> list[Batch]:
        """Sealed batches not yet settled, in order of seq."""
        return [replace(batch, epoch=ALERT + batch.epoch) for batch in self._ring.held()]

    def settle(self, epoch: str, seq: int) -> bool:
        """A receipt for this batch was verified."""
        return self._ring.settle(epoch.removeprefix(ALERT), seq)


def seal_alerts(
    ring: Ring, identity: Identity | None, wording: Wording, timeline: Timeline, *, at_most: int
) -> int:
    """Seal what the alert ring holds and no batch has yet; returns how many batches were made.

    Without an identity (direct mode) they are compressed only. Runs on the ring's thread. Each batch is durable when
    this returns.
    """
    made = 0
    while made < at_most:
        head = ring.head()
        after = head.span.last if head else -1
        stored = _alike(ring.read(after, BATCH_BYTES))
        if not stored:
            break
        ring.hold(_batch(ring, head, stored, identity, wording, timeline))
        made += 1
    return made


def _batch(
    ring: Ring,
    head: Batch | None,
    stored: Sequence[Stored],
    identity: Identity | None,
    wording: Wording,
    timeline: Timeline,
) -> Batch:
    gateway = wording.plan.gateway
    span = Span(head.span.last + 1 if head else 0, stored[-1].span.last)
    gaps = [gap for gap in ring.gaps(span.first - 1) if gap.span.first <= span.last]
    epoch, seq = ALERT + ring.epoch, head.seq + 1 if head else 0
    entities, unreadable = _said(stored, wording, timeline, epoch)
    gaps += [Gap(record.span, UNREADABLE) for record in unreadable]
    payload = orjson.dumps(entities + gap_entities(gateway, gaps, epoch))
    if identity is None:
        made = plain(payload)
        return Batch(ring.epoch, seq, span, made.digest, made.leaf, made.message, MADE_FOR_DIRECT)
    prev = head.digest if head else GENESIS
    header = Header(gateway, identity.hub, epoch, seq, prev, span.first, span.count)
    topic = topic_of(gateway, epoch)
    sealed = seal(payload, header, identity.signer, identity.hub_encryption, topic)
    return Batch(ring.epoch, seq, span, sealed.digest, sealed.leaf, sealed.message)


def _said(
    stored: Sequence[Stored], wording: Wording, timeline: Timeline, epoch: str
) -> tuple[list[Entity], list[Stored]]:
    """What the records say, and those that this version cannot read: they must not stop the others."""
    alerts: list[Alert] = []
    unreadable: list[Stored] = []
    for record in stored:
        try:
            if is_live(record.payload):
                return wording.live(record, timeline, epoch), unreadable
            alerts.append(unpack_alert(record.payload))
        except (ValueError, TypeError, KeyError) as wrong:
            log.error("record %s of the alert ring is unreadable: %s", record.span, wrong)
            unreadable.append(record)
    return wording.payload(alerts, timeline), unreadable


def _alike(stored: Sequence[Stored]) -> Sequence[Stored]:
    """What shares an envelope: alerts with alerts, and one record of live values with nothing."""
    for number, record in enumerate(stored):
        if is_live(record.payload):
            return stored[: max(number, 1)]
    return stored


def open_ring(state: Path) -> Ring:
    """The ring of alerts, or a spare one beside it where it must not be touched: the daemon always starts.

    Raises StoreError `store.in-use`, and where not even the spare one can be opened.
    """
    try:
        return Ring.open(state / "ring-alerts", RING_BYTES)
    except StoreError as refused:
        if refused.code == "store.in-use":
            raise
        log.error("%s: %s; %s; a spare ring is used", refused.code, refused, refused.hint)
        return Ring.open(state / "ring-alerts-spare", RING_BYTES)


def judge_of(site: Site, began: Instant) -> Judge:
    """The site's rules, watching from now on."""
    return Judge(rules_of(site), began)


def wording_of(site: Site, state: Path, plan: SitePlan, personal: Personal) -> Wording:
    """How this site's alerts are told outside; a rule on a personal device has a pseudonym as its device has."""
    hidden = [rule.name for rule in site.alert if rule.device in personal.names]
    rules: dict[str, str] = {}
    if hidden:
        key = SiteKey.load(state / "pseudonym.key")
        rules = {name: key.pseudonym(site.site.gateway, f"alert:{name}") for name in hidden}
    units = {(d.name, name): unit for d in plan.devices for name, unit, _ in d.points}
    return Wording(plan, personal, rules, units)


def pack_alert(alert: Alert) -> bytes:
    """An alert as the ring keeps it: a JSON object of its fields."""
    return orjson.dumps(asdict(alert))


def unpack_alert(payload: bytes) -> Alert:
    """The alert of a payload. Raises ValueError, TypeError or KeyError for what `pack_alert` has not written."""
    plain: dict[str, Any] = orjson.loads(payload)
    return Alert(**{**plain, "at": Instant(**plain["at"]), "since": Instant(**plain["since"])})


def _read(memory: Path) -> Mapping[str, Any]:
    try:
        found = orjson.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(memory: Path, state: bytes) -> None:
    try:
        durable_write(memory, state)
    except OSError as failed:
        log.error("%s cannot be written: %s; a restart may repeat alerts", memory, failed)
