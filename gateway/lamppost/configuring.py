"""ota ↔ the other stages: what the agent sees of them, and where it may fetch from. Joins; decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamppost.acquire import site_file
from lamppost.acquire.health import State
from lamppost.acquire.registry import Registry
from lamppost.acquire.report import BusStatus
from lamppost.clock import Clock
from lamppost.config.schema import Site, UplinkSettings
from lamppost.envelope.identity import Identity
from lamppost.files import durable_write
from lamppost.ota import preflight
from lamppost.ota.agent import Agent
from lamppost.ota.generations import Generations
from lamppost.ota.health import Vitals
from lamppost.ota.report import entry
from lamppost.ota.sources import Credentials, HttpsSource, Source, stick
from lamppost.ota.timeservers import ask, drop_in, right
from lamppost.status.control import Answer
from lamppost.timeline import Timeline

log = logging.getLogger(__name__)

PORT = 8443
ASK_EVERY = 10.0
TIME_SERVERS = "time-servers.conf"
ROOT = "tuf-root.json"
_GONE = (State.SUSPECT, State.DEAD)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The daemon as `ota.agent.Host` wants it. `file` is the local site file, beside which register maps stand."""

    site: Site
    file: Path
    state: Path
    timeline: Timeline
    identity: Callable[[], Identity | None]
    buses: Callable[[], Sequence[BusStatus]]
    connected: Callable[[], bool]
    receipts: Callable[[], int]
    flapping: Callable[[], frozenset[str]]
    servers: TimeServers
    flushed: Callable[[], Awaitable[None]]
    stop: Callable[[], None]

    def vitals(self) -> Vitals:
        """How the stages are doing now."""
        return Vitals(
            devices=frozenset(d.name for d in self.site.device),
            answering=answering(self.buses()),
            slow=self._slow(),
            connected=self.connected(),
            receipts=self.receipts(),
            clock=self.timeline.state in ("synced", "holdover"),
            servers=self.servers.right,
            flapping=self.flapping(),
        )

    def check(self, content: bytes) -> None:
        """Raises SiteInvalid, ConfigUnfit."""
        fits(self.load(content)[0], self.identity(), self.site, self.state)

    def load(self, content: bytes) -> tuple[Site, Registry]:
        """A configuration in place of the local site file. Raises SiteInvalid."""
        return site_file.parse(content, self.file)

    def root(self) -> bytes | None:
        """The trusted root, as enrolment or a seed brought it."""
        for folder in (self.state / "identity", self.state):
            try:
                return (folder / ROOT).read_bytes()
            except OSError:
                continue
        return None

    def sources(self, *, check_time: bool) -> list[Source]:
        """A stick that is plugged in, then the hub."""
        found: list[Source] = []
        if self.site.ota.sticks and (plugged := stick(self.site.ota.sticks)) is not None:
            found.append(plugged)
        who = self.identity()
        if who is not None and (url := address(self.site)):
            files = Credentials(who.tls_certificate, who.tls_key, who.server_ca)
            found.append(HttpsSource(url, files, check_time=check_time))
        return found

    async def flush(self) -> None:
        """Seal open windows early."""
        await self.flushed()

    def restart(self) -> None:
        """Stop this run of the daemon; the next one begins with what the generations say."""
        self.stop()

    def _slow(self) -> frozenset[str]:
        """Devices that are asked so seldom that a trial may end before their answer; not those whose bus is gone."""
        gone = {bus.name for bus in self.buses() if bus.state in _GONE}
        return frozenset(
            d.name
            for d in self.site.device
            if d.every > self.site.ota.trial / 3 and d.link not in gone
        )


class TimeServers:
    """The time servers of the site: told to the operating system, and asked until one of them answers right."""

    def __init__(
        self, servers: Sequence[str], file: Path, clock: Clock, timeline: Timeline
    ) -> None:
        self._servers = servers
        self._file = file
        self._clock = clock
        self._timeline = timeline
        self.right = not servers

    async def run(self) -> None:
        """Until one has answered right; what is wrong with them shows in a trial."""
        self._tell()
        told = False
        while not self.right:
            for server in self._servers:
                answer = await ask(server)
                synced = self._timeline.state == "synced"
                if right(answer, self._clock.utc(), self._timeline.floor, synced=synced):
                    self.right = True
                    return
            if not told:
                log.warning("no time server answers right: %s", ", ".join(self._servers))
            told = True
            await self._clock.sleep_until(self._clock.monotonic() + ASK_EVERY)

    def _tell(self) -> None:
        """Leave the drop-in where a unit of the operating system picks it up; none, where the site names none."""
        try:
            if self._servers:
                durable_write(self._file, drop_in(self._servers).encode(), 0o644)
            else:
                self._file.unlink(missing_ok=True)
        except OSError as failed:
            log.error("%s cannot be written: %s", self._file, failed)


def answers(agent: Agent, generations: Generations) -> dict[str, Answer]:
    """What the control socket says and does about configuration."""

    def show(_: Mapping[str, Any]) -> Mapping[str, Any]:
        history = [entry(line) for line in generations.state.history]
        return {"schema": "lamppost.config-status/1", **agent.status(), "history": history}

    def test(request: Mapping[str, Any]) -> Mapping[str, Any]:
        staged = agent.test(str(request["content"]).encode())
        return {"schema": "lamppost.config-test/1", "number": staged.number}

    def roll_back(_: Mapping[str, Any]) -> Mapping[str, Any]:
        agent.roll_back()
        return {"schema": "lamppost.config-rollback/1", **agent.status()}

    def fetch(_: Mapping[str, Any]) -> Mapping[str, Any]:
        agent.nudge()
        return {"schema": "lamppost.config-fetch/1", **agent.status()}

    return {
        "config": show,
        "config-test": test,
        "config-rollback": roll_back,
        "config-fetch": fetch,
    }


def answering(buses: Sequence[BusStatus]) -> frozenset[str]:
    """Devices that answer, on buses that are there."""
    return frozenset(
        device.name
        for bus in buses
        if bus.state not in _GONE
        for device in bus.devices
        if device.state is State.OK
    )


def fits(site: Site, identity: Identity | None, running: Site, state: Path) -> None:
    """Whether a site may run on this gateway. Raises ConfigUnfit."""
    gateway = identity.gateway if identity else running.site.gateway
    hub = identity.hub if identity else running.site.hub
    preflight.check(
        site, gateway=gateway, hub=hub, rings=[state / name for name in ("ring", "ring-coarse")]
    )


def address(site: Site) -> str:
    """Where the hub publishes for this site; "" where it has none."""
    if site.ota.url:
        return site.ota.url
    if not isinstance(site.uplink, UplinkSettings):
        return ""
    host = site.uplink.host
    return f"https://[{host}]:{PORT}" if ":" in host else f"https://{host}:{PORT}"
