"""The receiver's loop against a broker in memory: what is acknowledged when, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from lamppost.envelope.receipt import Statement
from lamppost.errors import HubError, StoreError
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.brake import Brake, Limits
from lamppost_hub.intake import Answer, Early, Intake, Taken
from lamppost_hub.queue import Queue
from lamppost_hub.receiver import Receiver
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.transport import Incoming, Session
from unit.hub.world import EPOCH, FrozenClock, HubWorld, SealingGateway

LOST = HubError("gone", code="hub.broker-lost", hint="", retry=True)


class MemoryBroker:
    """A broker with one subscriber: keeps what is not acknowledged and hands it out again on the next session."""

    def __init__(self) -> None:
        self.kept: dict[int, Incoming] = {}
        self.sent: list[Answer] = []
        self.refuse = 0
        self.sessions = 0
        self.changed = asyncio.Event()
        self._mark = 0

    def publish(self, *messages: Incoming) -> None:
        for message in messages:
            self._mark += 1
            self.kept[self._mark] = Incoming(message.topic, message.payload, self._mark)
        self.changed.set()

    async def connect(self) -> Session:
        if self.refuse:
            self.refuse -= 1
            raise HubError("no", code="hub.broker-unreachable", hint="", retry=True)
        self.sessions += 1
        return MemorySession(self)

    async def settled(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class MemorySession:
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._given: set[int] = set()
        self.lost = False
        broker.session = self  # type: ignore[attr-defined]

    async def receive(self, limit: int) -> list[Incoming]:
        while True:
            self._check()
            waiting = [m for mark, m in self._broker.kept.items() if mark not in self._given]
            if waiting:
                self._given.update(m.mark for m in waiting[:limit])
                return waiting[:limit]
            self._broker.changed.clear()
            await self._broker.changed.wait()

    async def send(self, topic: str, payload: bytes) -> None:
        self._check()
        self._broker.sent.append(Answer(topic, payload))
        self._broker.changed.set()

    def done(self, messages: Sequence[Incoming]) -> None:
        self._check()
        for message in messages:
            del self._broker.kept[message.mark]
        self._broker.changed.set()

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.lost:
            raise LOST


class Running:
    """A receiver under way; `take` may be replaced."""

    def __init__(self, world: HubWorld) -> None:
        self.broker = MemoryBroker()
        self.gate = asyncio.Event()
        self.gate.set()
        self.take = world.intake.take
        self.ready = 0
        self.new = 0
        self._world = world

    async def __aenter__(self) -> Running:
        self._task = asyncio.create_task(
            Receiver(
                self.broker,
                self._taken,
                _YieldingClock(),
                gate=self.gate,
                on_ready=lambda: setattr(self, "ready", self.ready + 1),
                on_new=lambda: setattr(self, "new", self.new + 1),
            ).run()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), self._task.exception()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _taken(self, group: Sequence[Incoming], early: Sequence[Early]) -> Taken:
        return self.take(group, early)


class _YieldingClock(FrozenClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


async def test_batches_are_acknowledged_and_answered(
    world: HubWorld, gateway: SealingGateway
) -> None:
    async with Running(world) as running:
        running.broker.publish(*(gateway.next() for _ in range(10)))
        await running.broker.settled(lambda: len(running.broker.sent) == 10)
        assert running.broker.kept == {}
        said = [gateway.read(answer) for answer in running.broker.sent]
        assert [r.seq for r in said if isinstance(r, Receipt)] == list(range(10))


async def test_nothing_is_acknowledged_before_it_is_durable(
    world: HubWorld, gateway: SealingGateway
) -> None:
    async with Running(world) as running:
        failures = 3

        def failing(group: Sequence[Incoming], early: Sequence[Early] = ()) -> Taken:
            nonlocal failures
            assert len(running.broker.kept) == 1
            if failures:
                failures -= 1
                raise StoreError("full", code="hub.store", hint="", retry=True)
            return world.intake.take(group)

        running.take = failing
        running.broker.publish(gateway.next())
        await running.broker.settled(lambda: not running.broker.kept)
        assert failures == 0


async def test_a_broker_that_refuses_and_hangs_up_is_survived(
    world: HubWorld, gateway: SealingGateway
) -> None:
    async with Running(world) as running:
        running.broker.refuse = 5
        running.broker.publish(gateway.next())
        await running.broker.settled(lambda: len(running.broker.sent) == 1)

        def hanging_up(group: Sequence[Incoming], early: Sequence[Early] = ()) -> Taken:
            running.take = world.intake.take
            taken = world.intake.take(group)
            running.broker.session.lost = True  # type: ignore[attr-defined]
            return taken

        running.take = hanging_up
        running.broker.publish(gateway.next())
        await running.broker.settled(lambda: len(running.broker.sent) == 2)
        assert (running.broker.sessions, running.ready) == (2, 2)
        receipt = gateway.read(
            running.broker.sent[1]
        )  # as a duplicate, with the first time's proof
        assert isinstance(receipt, Receipt)
        assert (receipt.seq, receipt.log_size) == (1, 2)


async def test_a_batch_whose_predecessor_another_receiver_has_waits_for_it(
    world: HubWorld, gateway: SealingGateway
) -> None:
    keys = founding.load_keys(world.folder)
    patient = Intake(world.database, keys, world.clock, patience=1.0)
    async with Running(world) as running:
        running.take = patient.take
        sent = [gateway.next() for _ in range(3)]
        running.broker.publish(sent[2], sent[1])
        for _ in range(50):
            await asyncio.sleep(0)
        assert running.broker.sent == []
        assert len(running.broker.kept) == 2  # in hand, not acknowledged
        world.intake.take(sent[:1])  # the other receiver
        await running.broker.settled(lambda: not running.broker.kept)
        said = [gateway.read(answer) for answer in running.broker.sent]
        assert [receipt.seq for receipt in said if isinstance(receipt, Receipt)] == [1, 2]
        late = [gateway.next() for _ in range(2)][1]
        running.broker.publish(late)
        for _ in range(20):
            await asyncio.sleep(0)
        world.clock.ns += 2 * 10**9  # nobody had it
        await running.broker.settled(lambda: not running.broker.kept)
        said = [gateway.read(answer) for answer in running.broker.sent[2:]]
        assert said == [Statement("resend", "ledger.missing", EPOCH, 4, 3)]


async def test_a_shut_gate_takes_nothing(world: HubWorld, gateway: SealingGateway) -> None:
    async with Running(world) as running:
        running.broker.publish(gateway.next())
        await running.broker.settled(lambda: len(running.broker.sent) == 1)
        running.gate.clear()
        running.broker.publish(gateway.next(), gateway.next())
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(running.broker.sent) == 1
        assert len(running.broker.kept) == 2
        running.gate.set()
        await running.broker.settled(lambda: len(running.broker.sent) == 3)


async def test_the_brake_shuts_the_gate_while_a_sink_is_behind(
    world: HubWorld, gateway: SealingGateway
) -> None:
    gate, queue, thread = asyncio.Event(), Queue(world.database), DatabaseThread()
    limits = Limits(backlog=3, free_bytes=0)
    brake = Brake(gate, queue, ["sink"], world.path, thread, world.clock, limits)
    await brake.look()
    assert gate.is_set()
    world.intake.take([gateway.next() for _ in range(3)])
    await brake.look()
    assert not gate.is_set()
    queue.delivered("sink", "gw-1", queue.next_of("sink", "gw-1", 1)[0].position)
    await brake.look()
    assert gate.is_set()
    full = Brake(gate, queue, [], world.path, thread, world.clock, Limits(free_bytes=1 << 62))
    await full.look()
    assert not gate.is_set()
    thread.close()
