"""Composition root: builds the stages, runs them in one TaskGroup, stops them in reverse. Parses and signs nothing.

start   ring → outbound → uplink → acquisition → control socket → READY
stop    acquisition → last group to the ring → last windows sealed → uplink drained → ring closed
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamppost import acquire
from lamppost.acquire import site_file
from lamppost.acquire.registry import Registry
from lamppost.clock import Clock, SystemClock
from lamppost.config.schema import DirectSettings, Site, UplinkSettings
from lamppost.envelope import identity
from lamppost.envelope.pseudonym import SiteKey
from lamppost.errors import StoreError, TrustError
from lamppost.files import locked
from lamppost.intake import Intake
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound, made_for_direct
from lamppost.ring import Ring
from lamppost.ring.offloop import OffLoop
from lamppost.status.control import Control
from lamppost.status.notify import notify, watchdog_interval
from lamppost.status.report import buffer_report, report
from lamppost.timeline import Timeline
from lamppost.uplink import Uplink

if TYPE_CHECKING:
    from lamppost.uplink.direct import Direct

log = logging.getLogger("lamppost")

SEAL_EVERY = 1.0
MAX_HELD = 64  # sealed ahead of their receipts; what is older waits unsealed, where it can still be reduced
ENROLMENT_EVERY = 10.0


def run(file: Path, state: Path, socket: Path) -> None:
    """Run the gateway of a site file until SIGTERM or SIGINT.

    Raises SiteInvalid for the file, StoreError `store.in-use` for a second daemon on the same state.
    """
    site, registry = site_file.read(file)
    state.mkdir(parents=True, exist_ok=True)
    with (
        locked(state / "lock", "state folder"),
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(Daemon(site, registry, state, socket, SystemClock()).run())


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class Daemon:
    """One gateway: its stages and how they hang together."""

    def __init__(
        self, site: Site, registry: Registry, state: Path, socket: Path, clock: Clock
    ) -> None:
        self._site = site
        self._state = state
        self._clock = clock
        self._began = clock.now()
        self._timeline = Timeline(state / "boots.json", send_unsynced=site.time.unsynced == "send")
        ring, self._ring_refused = _open_ring(state, site.ring.size)
        _begin_anew(ring, direct=isinstance(site.uplink, DirectSettings))
        self._ring = OffLoop(ring)
        self._settled = self._ring.stats().settled_through
        self._intake = Intake(self._ring)
        self._acquisition = acquire.build(site, registry, clock, self._intake.deliver, state)
        plan = _plan(site, registry)
        self._outbound = Outbound(
            plan,
            {(d.name, name): kind for d in plan.devices for name, _, kind in d.points},
            self._timeline,
            window=site.aggregate.window,
            grace=site.aggregate.grace,
            personal=_personal(site, state, plan),
        )
        self._identity: identity.Identity | None = None
        self._uplink: Uplink | Direct | None = None
        self._enrolment = "not tried yet"
        self._control = Control(socket, {"status": self._status, "buffer": self._buffer})
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until a signal asks to stop; then nothing that was read stays behind in memory."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._timeline.learn(self._clock)
        try:
            async with asyncio.TaskGroup() as stages:
                running = [
                    stages.create_task(self._send(), name="uplink"),
                    stages.create_task(self._seal(), name="outbound"),
                    stages.create_task(self._store(), name="intake"),
                    stages.create_task(self._control.run(), name="control"),
                    stages.create_task(self._live(), name="watchdog"),
                ]
                acquiring = stages.create_task(self._acquisition.run(), name="acquisition")
                notify("READY=1")
                log.info("gateway %s runs", self._site.site.gateway)
                await self._stop.wait()
                notify("STOPPING=1")
                await _ended(acquiring)
                await self._finish()
                for stage in running:
                    stage.cancel()
        finally:
            await self._ring.close()

    async def _finish(self) -> None:
        """Store the last group, seal the open windows, wait a little for the last receipts."""
        await self._intake.flush()
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
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + SEAL_EVERY)
            self._learn()
            await self._seal_due(flush=False)

    def _learn(self) -> None:
        """Look at the clock; a receipt since the last look proves that its time has passed."""
        if self._timeline.learn(self._clock):
            log.info("clock of this boot: %s", self._timeline.state)
        settled = self._ring.stats().settled_through
        if settled != self._settled:
            self._settled = settled
            self._timeline.proved(self._clock.now())

    async def _seal_due(self, *, flush: bool) -> None:
        who, room = self._identity, MAX_HELD - len(self._ring.held())
        if (who is None and isinstance(self._site.uplink, UplinkSettings)) or room <= 0:
            return
        now = self._clock.now()
        try:
            sealed = await self._ring.call(
                lambda ring: self._outbound.seal_due(ring, who, now, at_most=room, flush=flush)
            )
        except StoreError as failed:
            log.warning("%s: %s; %s", failed.code, failed, failed.hint)
            return  # what is not sealed is still in the ring, and sealed when the disk is well again
        if sealed and self._uplink is not None:
            self._uplink.notify()

    async def _send(self) -> None:
        """Run the uplink as soon as this gateway is enrolled; until then reading and storing go on."""
        settings = self._site.uplink
        if isinstance(settings, DirectSettings):
            # It brings an HTTP client, which a hub's gateway never needs.
            from lamppost.uplink.direct import Direct

            gateway = self._site.site.gateway
            self._uplink = Direct(settings, gateway, self._ring, self._clock, self._state)
            await self._uplink.run()
        while self._identity is None:
            try:
                self._identity = identity.load(self._state / "identity")
            except TrustError as refused:
                if self._enrolment != refused.code:
                    log.warning("%s: %s; %s", refused.code, refused, refused.hint)
                self._enrolment = refused.code
                await self._clock.sleep_until(self._clock.monotonic() + ENROLMENT_EVERY)
        self._uplink = Uplink(settings, self._identity, self._ring, self._clock)
        await self._uplink.run()

    async def _live(self) -> None:
        """Tell systemd's watchdog that the loop turns."""
        interval = watchdog_interval()
        while interval is not None:
            notify("WATCHDOG=1")
            await self._clock.sleep_until(self._clock.monotonic() + interval)

    def _status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return report(
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

    def _buffer(self, _: Mapping[str, Any]) -> dict[str, Any]:
        found = buffer_report(self._ring.stats(), self._ring.head(), via="daemon")
        return {**found, "state": self._ring_refused} if self._ring_refused else found


def _open_ring(state: Path, size: int) -> tuple[Ring, str]:
    """The ring, or beside one that must not be touched a spare one, and then why: the daemon always starts.

    Raises StoreError `store.in-use`, and where not even the spare one can be opened.
    """
    try:
        return Ring.open(state / "ring", size), ""
    except StoreError as refused:
        if refused.code == "store.in-use":
            raise
        log.error("%s: %s; %s; a spare ring is used", refused.code, refused, refused.hint)
        return Ring.open(state / "ring-spare", size), refused.code.removeprefix("ring.")


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
