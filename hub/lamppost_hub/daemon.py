"""Composition root of `lamppost-hub receive`: builds the parts, runs them in one TaskGroup, stops on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamppost.envelope.seal import is_alert
from lamppost.errors import LamppostError, SiteError
from lamppost_hub.ahead import LOOK, NewestQueue, Shown, ahead_name
from lamppost_hub.brake import Brake, Limits
from lamppost_hub.ca import alert_receiver, life_of, receiver_name
from lamppost_hub.clock import Clock, SystemClock
from lamppost_hub.database import Database
from lamppost_hub.express import AlertQueue, express_name
from lamppost_hub.files import FileLock
from lamppost_hub.folder import HubFolder
from lamppost_hub.forward import Archive, Forwarder
from lamppost_hub.founding import (
    load_keys,
    open_checkpoints,
    open_database,
    receiver_certificate,
    shared_memory,
)
from lamppost_hub.intake import Early, HubKeys, Intake, Taken
from lamppost_hub.mqtt import ALERTS, READINGS, STATES, BrokerAddress, MqttBroker
from lamppost_hub.notary import Notary
from lamppost_hub.publish.nudging import Nudger
from lamppost_hub.queue import NEWEST, Queue
from lamppost_hub.receiver import Receiver
from lamppost_hub.registry import Registry
from lamppost_hub.sink_choice import ChosenSink, is_bound, open_sinks, sink_name
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.transport import Broker, Incoming
from lamppost_hub.watchdog import Watchdog, notify

log = logging.getLogger("lamppost_hub.daemon")

PATIENCE = 1.0  # seconds that a batch waits for its predecessor where receivers share the messages
EXPRESS_LOOK = 0.25  # seconds between looks for alerts that another process has booked
THRESHOLD = (200_000, 10, 10)  # a decoded batch is a tree of 10,000 dicts that ends by itself
LOCK_PAUSE = 2.0  # seconds between looks at whether another process still drains the queue


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator asked for on the command line."""

    host: str | None = None
    port: int | None = None
    sinks: tuple[str, ...] = ("embedded",)
    receiver: int = 1
    group: str | None = None
    limits: Limits = field(default_factory=Limits)


def run(folder: HubFolder, choice: Choice, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises before it serves where the folder or an option is wrong."""
    if choice.group is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", choice.group):
        raise SiteError(
            f"{choice.group!r} is no group name",
            code="hub.settings",
            hint="letters, digits, dashes and underscores, at most 64",
        )
    clock = SystemClock()
    settings = folder.settings()
    name = receiver_name(choice.receiver)
    seat = FileLock(folder.root / f"{name}.lock")
    if not seat.try_hold():
        raise SiteError(
            f"receiver {choice.receiver} of {folder.root} runs already",
            code="hub.in-use",
            hint="give another one its own --receiver N, and the same --group to both",
        )
    keys = load_keys(folder)
    database = open_database(folder)
    address = _address(folder, choice, choice.receiver, (READINGS,), clock)
    # Alerts come over a connection of their own, so that neither a backlog nor a shut gate holds them up.
    urgent = _address(folder, choice, alert_receiver(choice.receiver), (ALERTS, STATES), clock)

    def say_ready() -> None:
        ready(f"{settings.id} at {address.host} port {address.port} as {name}")

    async def serve() -> None:
        brokers = MqttBroker(address), MqttBroker(urgent)
        hub = Hub(folder, choice, keys, database, clock, brokers[0], say_ready, alerts=brokers[1])
        await hub.run(_signalled())

    try:
        _loop_run(serve())
    except BaseExceptionGroup as group:
        expected, others = group.split(LamppostError)
        if expected is None or others is not None:
            raise
        raise _first(expected) from group
    finally:
        database.close()
        seat.release()


def _address(
    folder: HubFolder, choice: Choice, number: int, topics: tuple[str, ...], clock: Clock
) -> BrokerAddress:
    """How the receiver of that number reaches the broker; its certificate is made or renewed where it must be."""
    settings, name = folder.settings(), receiver_name(number)
    certificate = folder.tls / f"{name}.pem"
    if not certificate.exists() or life_of(certificate).left(clock.utc()) < 0.5:
        receiver_certificate(folder, number, clock)
    return BrokerAddress(
        host=choice.host or settings.host,
        port=choice.port or settings.port,
        name=name,
        certificate=certificate,
        key=folder.tls / f"{name}.key",
        server_ca=folder.ca / "server-ca.pem",
        group=choice.group,
        topics=topics,
    )


class Hub:
    """The running receiver over any broker; `alerts` is a second connection, for those alone."""

    def __init__(
        self,
        folder: HubFolder,
        choice: Choice,
        keys: HubKeys,
        database: Database,
        clock: Clock,
        broker: Broker,
        ready: Callable[[], None],
        *,
        alerts: Broker | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._thread = DatabaseThread()
        self._database = database
        self._queue, self._express = Queue(database), AlertQueue(database)
        self._intake = Intake(database, keys, clock, patience=PATIENCE if choice.group else 0.0)
        self._archive = Archive(keys.hub, Registry(database).signer_of, self._intake.recent)
        self._choice = choice
        self._owner = (
            f"{receiver_name(choice.receiver)}@{socket.gethostname()}:{folder.root.resolve()}"
        )
        # A shared database leases gateways; a file is written by the one process that holds the lock.
        self._alone = not database.shared or any(is_bound(sink) for sink in choice.sinks)
        self._lock = FileLock(folder.delivery_lock)
        self._sinks: list[ChosenSink] = []
        if not self._alone or self._lock.try_hold():  # a wrong setting shows at the start
            self._sinks = self._opened()
        self._forwarders: list[Forwarder] = []
        self._gate = asyncio.Event()
        self._ready = ready
        names = [sink_name(setting) for setting in choice.sinks]
        self._brake = Brake(
            self._gate, self._queue, names, folder.root, self._thread, clock, choice.limits
        )
        self._receivers = [self._receiving(broker, self._gate)]
        if alerts is not None:
            always = asyncio.Event()
            always.set()
            self._receivers.append(self._receiving(alerts, always))
        self._missing = len(self._receivers)  # how many were never subscribed yet
        self._nudger = Nudger(folder.publish, keys.signer, clock, self._receivers[0].send)
        self._notary = Notary(open_checkpoints(folder, database), self._thread, clock)

    async def run(self, stop: Coroutine[Any, Any, None]) -> None:
        """Until `stop` ends. Start order: brake, receiver, sinks; all are cancelled together."""
        try:
            async with asyncio.TaskGroup() as parts:
                tasks = [
                    parts.create_task(Watchdog(self._thread, self._clock).run(), name="watchdog"),
                    parts.create_task(self._brake.run(), name="brake"),
                    *(parts.create_task(r.run(), name="receiver") for r in self._receivers),
                    parts.create_task(self._forward(), name="forward"),
                    parts.create_task(self._notary.run(), name="notary"),
                    parts.create_task(self._nudger.run(), name="nudger"),
                ]
                gc.collect()
                gc.freeze()  # what is here now lives as long as the process; a large heap made opening slow
                gc.set_threshold(*THRESHOLD)
                await stop
                notify("STOPPING=1")
                for task in tasks:
                    task.cancel()
        finally:
            for chosen in self._sinks:
                await chosen.sink.close()
            self._lock.release()
            self._thread.close()

    def _receiving(self, broker: Broker, gate: asyncio.Event) -> Receiver:
        ready = [self._subscribed]

        def say() -> None:
            log.info("subscribed")
            if ready:
                ready.pop()()

        return Receiver(broker, self._take, self._clock, gate=gate, on_ready=say, on_new=self._wake)

    def _subscribed(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._ready()

    async def _take(self, group: Sequence[Incoming], early: Sequence[Early]) -> Taken:
        return await self._thread.call(self._intake.take, group, early)

    def _opened(self) -> list[ChosenSink]:
        memory = shared_memory(self._folder)
        return open_sinks(self._choice.sinks, self._folder.root, self._clock, memory)

    async def _forward(self) -> None:
        """Where only one process may drain the queue, another receiver of the same folder waits for its turn."""
        while self._alone and not self._lock.try_hold():
            await self._clock.sleep(LOCK_PAUSE)
        if not self._sinks:
            self._sinks = self._opened()
        async with asyncio.TaskGroup() as group:
            for chosen in self._sinks:
                for forwarder in self._forwarders_of(chosen):
                    self._forwarders.append(forwarder)
                    group.create_task(forwarder.run(), name=f"sink {forwarder.name}")

    def _forwarders_of(self, chosen: ChosenSink) -> Sequence[Forwarder]:
        """Readings and alerts have cursors of their own, so that alerts pass a backlog of readings; so does the newest
        batch where the sink is a broker."""
        around = (self._archive, self._thread, self._clock)
        express = express_name(chosen.name)
        found = [
            Forwarder(
                chosen.name,
                chosen.sink,
                self._queue,
                *around,
                owner=self._owner,
                lanes=chosen.lanes,
                skip=is_alert,
            ),
            Forwarder(
                express,
                chosen.sink,
                self._express,
                *around,
                owner=self._owner,
                lanes=chosen.lanes,
                idle=EXPRESS_LOOK,
            ),
        ]
        if chosen.name.startswith("ngsi-ld:"):  # a file or a table of rows shows no current state
            shown, newest = Shown(chosen.sink), NewestQueue(self._database, self._clock)
            name = ahead_name(chosen.name)
            found.append(Forwarder(name, shown, newest, *around, owner=self._owner, idle=LOOK))
        return found

    def _wake(self) -> None:
        for forwarder in self._forwarders:
            if not forwarder.name.endswith(NEWEST):  # a look every few seconds is enough
                forwarder.wake()


async def _signalled() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _first(group: BaseExceptionGroup[LamppostError]) -> LamppostError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _loop_run(main: Coroutine[Any, Any, None]) -> None:
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
