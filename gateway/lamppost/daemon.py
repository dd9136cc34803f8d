"""Composition root: builds the stages, runs them in one TaskGroup, stops them in reverse. Parses and signs nothing.

start   ring → outbound → uplink → acquisition → control socket → READY
stop    acquisition → last group to the ring → last windows sealed → uplink drained → ring closed
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamppost import acquire, alerting
from lamppost.acquire import site_file
from lamppost.acquire.registry import Registry
from lamppost.alerting import Alerting, AlertOutbox
from lamppost.clock import Clock, SystemClock
from lamppost.config.schema import DirectSettings, Site, UplinkSettings
from lamppost.configuring import TIME_SERVERS, Surroundings, TimeServers, answers
from lamppost.envelope import identity
from lamppost.envelope.pseudonym import SiteKey
from lamppost.errors import LamppostError, StoreError, TrustError
from lamppost.files import board_serial, locked
from lamppost.heartbeats import Heartbeats
from lamppost.intake import Intake
from lamppost.live import LiveValues, width_of
from lamppost.model import Sample
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.ota.agent import Agent
from lamppost.ota.choice import choose
from lamppost.ota.generations import Generations
from lamppost.ota.refusal import ConfigUnfit
from lamppost.ota.report import for_hub
from lamppost.outbound import Outbound, made_for_direct
from lamppost.ring import Ring
from lamppost.ring.offloop import OffLoop
from lamppost.rings import Rings
from lamppost.status.control import Control
from lamppost.status.lending import Lending
from lamppost.status.maintenance import Maintenance
from lamppost.status.notify import notify, watchdog_interval
from lamppost.status.report import alert_report, buffer_report, report
from lamppost.timeline import Timeline
from lamppost.uplink import LONG_WINDOW, Budget, Thrift, Uplink
from lamppost.uplink.renewal import Renewal

if TYPE_CHECKING:
    from lamppost.uplink.direct import Direct

log = logging.getLogger("lamppost")

SEAL_EVERY = 1.0
BACKLOG_EVERY = 0.02  # between the steps of a backlog, in which groups of samples get to the ring
BACKLOG_STEP = 4  # batches
MAX_HELD = 64  # sealed ahead of their receipts; what is older waits unsealed, where it can still be reduced
ENROLMENT_EVERY = 10.0
ENDING = (signal.SIGTERM, signal.SIGINT)


def run(file: Path, state: Path, socket: Path) -> None:
    """Run the gateway until SIGTERM or SIGINT: with its signed configuration, or without one with the site file.

    Raises SiteInvalid for the file, StoreError `store.in-use` for a second daemon on the same state.
    """
    state.mkdir(parents=True, exist_ok=True)
    with locked(state / "lock", "state folder"):
        generations = Generations(state / "ota")
        with _signals_wait():
            while _once(file, state, socket, generations):
                log.info("starting again with another configuration")
                gc.unfreeze()  # what the run before had is no longer needed
                gc.collect()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Between two runs, and until a run listens to them, signals wait: no event loop is there to hear them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _once(file: Path, state: Path, socket: Path, generations: Generations) -> bool:
    """One run with one configuration; True if another one is to run now."""
    clock = SystemClock()
    parse = partial(site_file.parse, file=file)
    chosen = choose(generations, file, parse, clock.now(), clock.utc())
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            daemon = Daemon(*chosen.loaded, file, state, socket, clock, generations)
            runner.run(daemon.run())
    except LamppostError as why:
        if generations.state.trial is None or why.code == "store.in-use":
            raise
        unfit = ConfigUnfit("ota.not-loadable", f"the daemon does not start: {why.code}: {why}")
        generations.revert(unfit, clock.utc())
        return True
    return daemon.again


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class Daemon:
    """One gateway: its stages and how they hang together."""

    def __init__(
        self,
        site: Site,
        registry: Registry,
        file: Path,
        state: Path,
        socket: Path,
        clock: Clock,
        generations: Generations,
    ) -> None:
        self._site = site
        self._state = state
        self._clock = clock
        self._began = clock.now()
        self._timeline = Timeline(state / "boots.json", send_unsynced=site.time.unsynced == "send")
        self._rings = Rings(state, site.ring)
        _begin_anew(self._rings.ring, direct=isinstance(site.uplink, DirectSettings))
        self._ring = OffLoop(self._rings.ring)
        self._settled = self._ring.stats().settled_through
        self._intake = Intake(self._ring)
        self._acquisition = acquire.build(site, registry, clock, self._deliver, state)
        plan = _plan(site, registry)
        kinds = {(d.name, name): kind for d in plan.devices for name, _, kind in d.points}
        personal = _personal(site, state, plan)
        self._outbound = Outbound(
            plan,
            kinds,
            self._timeline,
            window=site.aggregate.window,
            grace=site.aggregate.grace,
            personal=personal,
            reduction=self._rings.reduction(
                self._timeline,
                kinds,
                window=site.aggregate.window,
                personal=dict.fromkeys(personal.names, personal.width),
            ),
            configuration=lambda: for_hub(self._agent.status()),
        )
        self._alert_ring, self._alerts = self._watch(plan, personal)
        self._live_values = LiveValues(
            self._ring,
            self._alerts,
            self._timeline,
            clock,
            grace=site.aggregate.grace,
            hidden=personal.names,
            width=self._live_width,
        )
        self._identity: identity.Identity | None = None
        self._uplink: Uplink | Direct | None = None
        self._alert_uplink: Direct | None = None
        self._enrolment = "not tried yet"
        self._stop = asyncio.Event()
        self.again = self._ended = False
        self._servers = TimeServers(site.time.servers, state / TIME_SERVERS, clock, self._timeline)
        self._agent = self._configuration(file, generations)
        self._heartbeats = Heartbeats(
            clock,
            getattr(site.uplink, "heartbeat", 900.0),
            status=lambda: self._status({}),
            utc=self._utc,
            identity=lambda: self._identity,
            tell=self._tell_state,
            site=file.read_bytes() if file.exists() else b"",
        )
        self._renewal = Renewal(
            state / "identity", board_serial(), clock, self._utc, self._adopt_identity
        )
        self._maintenance = Maintenance(state / "maintenance.json", clock)
        self._control = Control(
            socket,
            {
                "status": self._status,
                "buffer": self._buffer,
                "renew": self._renew,
                "maintenance": self._maintenance.answer,
                **answers(self._agent, generations),
            },
            {"lease": Lending(self._acquisition.leases).talk},
        )

    async def run(self) -> None:
        """Run until a signal asks to stop; then nothing that was read stays behind in memory."""
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self._timeline.learn(self._clock)
        try:
            async with asyncio.TaskGroup() as stages:
                running = [
                    stages.create_task(self._send(), name="uplink"),
                    stages.create_task(self._seal(), name="outbound"),
                    stages.create_task(self._store(), name="intake"),
                    stages.create_task(self._control.run(), name="control"),
                    stages.create_task(self._live(), name="watchdog"),
                    stages.create_task(self._agent.run(), name="ota"),
                    stages.create_task(self._servers.run(), name="time servers"),
                    stages.create_task(self._renewal.run(), name="renewal"),
                    stages.create_task(self._heartbeats.run(), name="heartbeats"),
                    stages.create_task(self._alerts.run(), name="alerts"),
                    stages.create_task(self._live_values.run(), name="live values"),
                ]
                acquiring = stages.create_task(self._acquisition.run(), name="acquisition")
                # What is here now lives as long as the process. A backlog's batch is some hundred thousand
                # short-lived objects without cycles: looking for those less often makes it a fifth cheaper.
                gc.freeze()
                gc.set_threshold(50_000, 20, 20)
                notify("READY=1")
                log.info("gateway %s runs", self._site.site.gateway)
                await self._stop.wait()
                if not self.again:
                    notify("STOPPING=1")
                await _ended(acquiring)
                await self._finish()
                for stage in running:
                    stage.cancel()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            await self._ring.close()
            self._rings.close()
            await self._alert_ring.close()

    def _watch(self, plan: SitePlan, personal: Personal) -> tuple[OffLoop, Alerting]:
        """The alert rules, and the ring of what they say."""
        direct = isinstance(self._site.uplink, DirectSettings)
        ring = alerting.open_ring(self._state)
        _begin_anew(ring, direct=direct)
        off = OffLoop(ring)
        return off, Alerting(
            alerting.judge_of(self._site, self._began),
            off,
            alerting.wording_of(self._site, self._state, plan, personal),
            self._timeline,
            self._clock,
            memory=self._state / "alerts.json",
            identity=lambda: self._identity,
            sealed=self._sealed_alerts,
            direct=direct,
        )

    def _deliver(self, sample: Sample) -> None:
        """A sample that raised or cleared an alert is its evidence: the ring keeps it longest."""
        self._live_values.note(sample)
        self._intake.deliver(sample, urgent=self._alerts.judge(sample))

    def _sealed_alerts(self) -> None:
        for uplink in (self._uplink, self._alert_uplink):
            if uplink is not None:
                uplink.notify()

    def _configuration(self, file: Path, generations: Generations) -> Agent:
        """The stage that fetches and tries signed configurations."""
        around = Surroundings(
            site=self._site,
            file=file,
            state=self._state,
            timeline=self._timeline,
            identity=lambda: self._identity,
            buses=self._acquisition.status,
            connected=self._hub_answers,
            receipts=self._proofs,
            flapping=self._flapping,
            servers=self._servers,
            flushed=self._flushed,
            stop=self._start_again,
        )
        gateway, settings = self._site.site.gateway, self._site.ota
        folder = self._state / "ota"
        return Agent(gateway, settings, generations, around, self._clock, self._timeline, folder)

    def _proofs(self) -> int:
        """How often the other end has shown that it takes what is sent: by receipts, in direct mode by answers."""
        if isinstance(self._uplink, Uplink):
            return self._uplink.status().receipts_verified
        return self._uplink.status().batches_sent if self._uplink is not None else 0

    async def _flushed(self) -> None:
        await self._seal_due(flush=True)

    def _hub_answers(self) -> bool:
        """Whether the uplink stands, and nothing is wrong behind it."""
        uplink = self._uplink.status() if self._uplink is not None else None
        return uplink is not None and uplink.state == "connected" and not uplink.code

    def _flapping(self) -> frozenset[str]:
        return frozenset(alert.rule.name for alert in self._alerts.standing() if alert.flapping)

    def _start_again(self) -> None:
        self.again = not self._ended
        self._stop.set()

    def _end(self) -> None:
        """A signal: this is the end, also where another configuration was to follow."""
        self.again, self._ended = False, True
        self._stop.set()

    async def _finish(self) -> None:
        """Store the last group, seal the open windows, wait a little for the last receipts."""
        await self._intake.flush()
        await self._alerts.flush()
        if self._uplink is not None and self._uplink.status().state == "connected":
            await self._seal_due(flush=True)
            await self._uplink.drained(self._clock.monotonic() + self._site.uplink.drain)

    async def _store(self) -> None:
        """One durable group after another, on an absolute grid."""
        due = self._clock.monotonic()
        while True:
            due += self._site.ring.group
            await self._clock.sleep_until(due)
            await self._intake.flush()
            due = max(due, self._clock.monotonic() - self._site.ring.group)

    async def _seal(self) -> None:
        sealed = 0
        while True:
            pause = BACKLOG_EVERY if sealed == BACKLOG_STEP else SEAL_EVERY
            await self._clock.sleep_until(self._clock.monotonic() + pause)
            self._learn()
            sealed = await self._seal_due(flush=False)

    def _learn(self) -> None:
        """Look at the clock; a receipt since the last look proves that its time has passed."""
        if self._timeline.learn(self._clock):
            log.info("clock of this boot: %s", self._timeline.state)
        settled = self._ring.stats().settled_through
        if settled != self._settled:
            self._settled = settled
            self._timeline.proved(self._clock.now())

    async def _seal_due(self, *, flush: bool) -> int:
        """Seal what is due, a step of it at most unless `flush`; how many batches that were."""
        who, room = self._identity, MAX_HELD - len(self._ring.held())
        if (who is None and isinstance(self._site.uplink, UplinkSettings)) or room <= 0:
            return 0
        if isinstance(self._uplink, Uplink):
            if self._uplink.thrift is Thrift.ALERTS_ONLY:
                return 0  # readings wait unsealed, where they can still be reduced
            self._outbound.pace(
                readings=self._uplink.batch_readings,
                window=LONG_WINDOW if self._uplink.thrift is Thrift.LONGER_WINDOWS else 0.0,
            )
        room = room if flush else min(room, BACKLOG_STEP)
        now = self._clock.now()
        try:
            sealed = await self._ring.call(
                lambda ring: self._outbound.seal_due(ring, who, now, at_most=room, flush=flush)
            )
        except (StoreError, TrustError) as failed:
            if not (failed.retry or isinstance(failed, StoreError)):
                raise
            # A full disk, or a token that was pulled: what is not sealed is still in the ring.
            log.warning("%s: %s; %s", failed.code, failed, failed.hint)
            return (
                0  # what is not sealed is still in the ring, and sealed when the disk is well again
            )
        if sealed and self._uplink is not None:
            self._uplink.notify()
        return sealed

    async def _send(self) -> None:
        """Run the uplink as soon as this gateway is enrolled; until then reading and storing go on."""
        settings = self._site.uplink
        if isinstance(settings, DirectSettings):
            await self._send_directly(settings)
            return
        while self._identity is None:
            try:
                self._identity = identity.load(self._state / "identity")
            except TrustError as refused:
                if self._enrolment != refused.code:
                    log.warning("%s: %s; %s", refused.code, refused, refused.hint)
                self._enrolment = refused.code
                await self._clock.sleep_until(self._clock.monotonic() + ENROLMENT_EVERY)
        self._uplink = Uplink(
            settings,
            self._identity,
            self._ring,
            self._clock,
            alerts=AlertOutbox(self._alert_ring),
            meter=Budget(self._state / "budget.json", settings.monthly, self._clock),
            on_nudge=lambda _: self._agent.nudge(),
        )
        await self._uplink.run()

    async def _send_directly(self, settings: DirectSettings) -> None:
        """Direct mode has no lanes: alerts have a writer, connections and a journal of their own."""
        # It brings an HTTP client, which a hub's gateway never needs.
        from lamppost.uplink.broker_client import connection
        from lamppost.uplink.direct import Direct

        gateway, clock, state = self._site.site.gateway, self._clock, self._state
        self._uplink = readings = Direct(settings, gateway, self._ring, clock, state)
        async with asyncio.TaskGroup() as writers:
            writers.create_task(readings.run(), name="uplink of readings")
            (state / "alerts").mkdir(exist_ok=True)
            self._alert_uplink = Direct(
                settings,
                gateway,
                AlertOutbox(self._alert_ring),
                clock,
                state / "alerts",
                connect=lambda: connection(settings, state, clock),
                beside=readings,
            )
            writers.create_task(self._alert_uplink.run(), name="uplink of alerts")

    def _live_width(self) -> int | None:
        """Nanoseconds between live values; None while they cannot go, or the month's bytes are for alerts alone."""
        uplink, window = self._uplink, self._site.aggregate.window
        if isinstance(uplink, Uplink):
            return width_of(window, uplink.thrift) if uplink.connected else None
        connected = uplink is not None and uplink.status().state == "connected"
        return width_of(window, Thrift.FULL) if connected else None

    def _utc(self) -> int | None:
        placed = self._timeline.utc(self._clock.now())
        return placed[0] if placed else None

    def _tell_state(self, message: bytes) -> bool:
        return isinstance(self._uplink, Uplink) and self._uplink.tell_state(message)

    def _renew(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """A person asks for another certificate; what became of the last try is told too."""
        self._renewal.hurry()
        return {"schema": "lamppost.trust-renew/1", "last": self._renewal.code}

    def _adopt_identity(self) -> None:
        """Another certificate and bundle were installed: the hub's newest keys are used from here on."""
        self._identity = identity.load(self._state / "identity")
        if isinstance(self._uplink, Uplink):
            self._uplink.adopt(self._identity.hub_signing)

    async def _live(self) -> None:
        """Tell systemd's watchdog that the loop turns and no bus hangs; a restart is what helps one that does."""
        interval, told = watchdog_interval(), False
        while interval is not None:
            stuck = self._acquisition.stuck()
            if not stuck:
                notify("WATCHDOG=1")
            elif not told:
                told = True
                log.error(
                    "link %s hangs in the kernel; waiting for systemd to restart us",
                    ", ".join(stuck),
                )
            await self._clock.sleep_until(self._clock.monotonic() + interval)

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        found = report(
            site=self._site,
            now=self._clock.now(),
            clock=self._timeline.state,
            began=self._began,
            ring=self._buffer({}),
            pending=self._intake.pending,
            overflowed=self._intake.overflowed,
            buses=self._acquisition.status(),
            uplink=self._uplink.status() if self._uplink else None,
            enrolment=self._enrolment,
        )
        alerts = alert_report(self._alerts.standing(), self._clock.now())
        return {
            **found,
            "alerts": alerts,
            "configuration": self._agent.status(),
            "maintenance": self._maintenance.report(),
        }

    def _buffer(self, _: Mapping[str, Any]) -> dict[str, Any]:
        found = buffer_report(self._ring.stats(), self._ring.head(), via="daemon")
        found |= {"coarse": self._rings.report()}
        return {**found, "state": self._rings.refused} if self._rings.refused else found


def _begin_anew(ring: Ring, *, direct: bool) -> None:
    """Batches made for another kind of uplink cannot go this way: their readings are numbered and sealed again."""
    head = ring.head()
    if head is None or made_for_direct(head) is direct:
        return
    log.warning(
        "the kind of uplink changed: what is not proved is sealed again, in a new epoch of the ring"
    )
    try:
        ring.begin_epoch()
    except StoreError as failed:
        log.error("%s: %s; %s", failed.code, failed, failed.hint)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _personal(site: Site, state: Path, plan: SitePlan) -> Personal:
    """Pseudonyms for the devices that the site marks personal; the key is made when the first one is."""
    personal = [device.name for device in site.device if device.personal]
    if not personal:
        return Personal()
    key = SiteKey.load(state / "pseudonym.key")
    return Personal(
        names={name: key.pseudonym(site.site.gateway, name) for name in personal},
        width=round(max(site.privacy.window, site.aggregate.window) * 1e9),
        kinds={(d.name, name): kind for d in plan.devices for name, _, kind in d.points},
    )


def _plan(site: Site, registry: Registry) -> SitePlan:
    """What the NGSI-LD mapping must know, taken from the configuration and the drivers."""
    points = acquire.device_points(site, registry)
    place = site.site.place
    return SitePlan(
        gateway=site.site.gateway,
        place=(place.longitude, place.latitude) if place else None,
        source=site.site.source,
        data_provider=site.site.data_provider,
        datasets=site.aggregate.form == "datasets",
        devices=tuple(
            DevicePlan(
                name=device.name,
                model=device.model,
                products=", ".join(registry.find(device.model).documentation.products),
                points=tuple((p.name, p.unit, p.kind.value) for p in points[device.name]),
                description=device.description,
            )
            for device in site.device
        ),
    )
