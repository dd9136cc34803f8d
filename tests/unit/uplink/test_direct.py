"""Direct mode: the broker's answer settles, each reading once, whatever the broker and the power do."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.deliveries import READINGS, delivery
from fakes.list_ring import ListRing
from fakes.stub_broker import BROKERS, ORION, ORION_TROE, Fault, Habits, StubBroker
from fakes.virtual_clock import VirtualClock, run
from lamppost.envelope.seal import plain
from lamppost.model import Batch, Span
from lamppost.ngsild.broker import Api, History
from lamppost.ring import Record
from lamppost.uplink.broker_client import Connection
from lamppost.uplink.direct import Direct, DirectStatus
from lamppost.uplink.direct_memory import Journal
from lamppost.uplink.refused import Box
from lamppost.uplink.state import UplinkState
from lamppost_hub.delivery import readings_in

METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"
OTHER = "urn:ngsi-ld:DeviceMeasurement:gw-1:dev:phase_angle"
VOLTAGE = "https://smartdatamodels.org/dataModel.Energy/phaseVoltage"


@dataclass
class Settings:
    url: str = "http://broker.test"
    tenant: str = ""
    history: History = "temporal"
    ca: str = ""
    certificate: str = ""
    key: str = ""
    token: Any = None


@dataclass
class World:
    """A ring, a broker, and gateways that come and go; `state` outlives them."""

    folder: Path
    stub: StubBroker
    clock: VirtualClock
    settings: Settings = field(default_factory=Settings)
    ring: ListRing = field(default_factory=ListRing)
    direct: Direct = field(init=False)
    task: asyncio.Task[Any] | None = None

    def start(self) -> asyncio.Task[Any]:
        self.direct = Direct(
            self.settings,
            "gw-1",
            self.ring,
            self.clock,
            self.folder,
            connect=self._connect,
            chance=random.Random(1),
        )
        self.task = asyncio.create_task(self.direct.run())
        return self.task

    async def kill(self) -> None:
        """As kill -9 would: nothing is said to anybody."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def _connect(self) -> Connection:
        client = self.stub.client()

        async def sleep(seconds: float) -> None:
            await self.clock.sleep_until(self.clock.monotonic() + seconds)

        api = Api(client, tenant=self.settings.tenant, sleep=sleep, jitter=lambda: 0.0)
        return Connection(client, api)

    def hold(self, seq: int) -> None:
        self.ring.append([Record(READINGS, b"")])
        sealed = plain(orjson.dumps(delivery(seq).entities))
        span = Span(seq * READINGS, (seq + 1) * READINGS - 1)
        self.ring.hold(
            Batch(self.ring.epoch, seq, span, sealed.digest, sealed.leaf, sealed.message)
        )

    async def until(self, true: Callable[[], object], limit: float = 4000.0) -> None:
        deadline = self.clock.monotonic() + limit
        while not true():
            assert self.clock.monotonic() < deadline, self.direct.status()
            await self.clock.sleep_until(self.clock.monotonic() + 0.25)

    async def settled(self) -> None:
        self.direct.notify()
        await self.until(lambda: not self.ring.held())

    def readings(self) -> int:
        return sum(
            readings_in([{"id": i, "type": "t", name: instance}])
            for i, attributes in self.stub.store(self.settings.tenant).history.items()
            for name, instances in attributes.items()
            for instance in instances
        )

    @property
    def status(self) -> DirectStatus:
        return self.direct.status()


def play(
    tmp_path: Path, story: Callable[[World], Awaitable[None]], habits: Habits = ORION_TROE
) -> World:
    async def main(clock: VirtualClock) -> World:
        world = World(tmp_path, StubBroker(habits), clock)
        await story(world)
        if world.task is not None:
            await world.kill()
        return world

    return run(main)


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
def test_what_is_held_is_written_and_settled(tmp_path: Path, habits: Habits) -> None:
    async def story(w: World) -> None:
        w.start()
        for seq in range(3):
            w.hold(seq)
            await w.settled()
        assert w.ring.settled_through == 3 * READINGS - 1
        assert w.status.state is UplinkState.CONNECTED
        assert w.status.batches_sent == 3
        assert "no signed receipts" in w.status.proof

    world = play(tmp_path, story, habits)
    assert world.readings() == 3 * READINGS
    assert world.stub.repeated() == 0
    assert world.stub.value(METER, VOLTAGE)["L1"] == 232.0


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
def test_a_backlog_goes_together_and_ends_with_the_newest(tmp_path: Path, habits: Habits) -> None:
    async def story(w: World) -> None:
        for seq in range(40):
            w.hold(seq)
        w.start()
        await w.settled()

    world = play(tmp_path, story, habits)
    assert world.readings() == 40 * READINGS
    assert world.stub.repeated() == 0
    assert world.stub.value(METER, VOLTAGE)["L1"] == 269.0
    assert len(world.stub.requests) < 12


@pytest.mark.parametrize(
    ("status", "applied"),
    [(status, False) for status in (408, 429, 500, 502, 503, 504)]
    + [(status, True) for status in (408, 500, 502, 504)],
)
def test_a_failing_broker_is_asked_before_it_is_told_again(
    tmp_path: Path, status: int, applied: bool
) -> None:
    async def story(w: World) -> None:
        for seq in range(4):
            w.hold(seq)
        w.stub.faults = [Fault(status, applied=applied) for _ in range(7)]
        w.start()
        await w.settled()

    world = play(tmp_path, story)
    assert world.readings() == 4 * READINGS
    assert world.stub.repeated() == 0


def test_an_outage_is_waited_out_with_longer_pauses_and_said(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.start()
        w.hold(0)
        await w.settled()
        w.stub.faults = [Fault(not_connected=True)] * 60
        w.hold(1)
        w.direct.notify()
        await w.until(lambda: w.status.state is UplinkState.WAITING)
        assert w.status.code == "broker.unreachable"
        assert w.status.hint
        assert w.status.next_try is not None
        before = len(w.stub.faults)
        await w.clock.sleep_until(w.clock.monotonic() + 60)
        assert before - len(w.stub.faults) < 40
        await w.settled()
        assert w.status.code is None

    world = play(tmp_path, story)
    assert (world.readings(), world.stub.repeated()) == (2 * READINGS, 0)


def _over(world: World, task: asyncio.Task[Any]) -> bool:
    return task.done() or not world.ring.held()


class PowerCut(BaseException):
    """The process is gone between two instructions."""


class Fuse:
    """Blows at the nth request or journal line, before it is done or just after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
        self.left: int | None = None
        self._after = False
        answer, append = world.stub.answer, Journal._append
        monkeypatch.setattr(world.stub, "answer", lambda *given: self._burn(answer, *given))
        monkeypatch.setattr(Journal, "_append", lambda *given: self._burn(append, *given))

    def set(self, number: int, *, after: bool) -> None:
        self.left, self._after = number, after

    def _burn(self, step: Callable[..., Any], *given: Any) -> Any:
        blows = self.left == 0
        if self.left is not None:
            self.left -= 1
        if blows and not self._after:
            raise PowerCut
        done = step(*given)
        if blows:
            raise PowerCut
        return done


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_request_and_each_line_of_the_journal(
    tmp_path: Path, habits: Habits, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cut meets a fresh backlog of two batches, so history and current state are both in doubt."""
    survived = 0

    async def story(w: World) -> None:
        nonlocal survived
        fuse = Fuse(monkeypatch, w)
        for number in range(30):
            w.hold(2 * number)
            w.hold(2 * number + 1)
            fuse.set(number, after=after)
            task = w.start()
            with contextlib.suppress(AssertionError):
                await w.until(partial(_over, w, task), 5)
            await w.kill()
            blown, fuse.left = (fuse.left or 0) < 0, None
            if not blown:
                break
            survived += 1
            w.start()
            await w.settled()
            await w.kill()
        w.hold(2 * survived + 2)
        w.start()
        await w.settled()

    world = play(tmp_path, story, habits)
    assert survived >= 6
    assert (world.readings(), world.stub.repeated()) == ((2 * survived + 3) * READINGS, 0)
    assert world.stub.value(METER, VOLTAGE)["L1"] == 230.0 + 2 * survived + 2


def test_written_but_not_settled_in_the_ring_is_not_written_again(tmp_path: Path) -> None:
    """The cursor of the ring may be behind after a power cut."""

    async def story(w: World) -> None:
        held = w.ring
        for seq in range(3):
            w.hold(seq)
        w.ring = ForgetfulRing(held)  # type: ignore[assignment]
        w.start()
        await w.until(lambda: w.status.batches_sent == 3)
        await w.kill()
        requests = len(w.stub.requests)
        w.ring = held
        w.start()
        await w.settled()
        writes = [r for r in w.stub.requests[requests:] if not r[1].endswith("/query")]
        assert writes == []

    assert play(tmp_path, story).stub.repeated() == 0


class ForgetfulRing:
    """Settles in memory only."""

    def __init__(self, ring: ListRing) -> None:
        self._ring = ring
        self._settled: set[int] = set()

    def held(self) -> list[Batch]:
        return [b for b in self._ring.held() if b.seq not in self._settled]

    def settle(self, epoch: str, seq: int) -> bool:
        self._settled.add(seq)
        return True


@pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
def test_what_is_refused_for_good_is_kept_named_and_does_not_stop_the_rest(
    tmp_path: Path, habits: Habits
) -> None:
    async def story(w: World) -> None:
        w.stub.refuse = {OTHER}
        w.start()
        for seq in range(2):
            w.hold(seq)
            await w.settled()
        assert (w.status.letters, w.status.entities_refused) == (2, 2)
        assert w.status.last_refusal.startswith("4")
        assert w.status.code is None
        refused = [
            r["entity"]["id"]
            for letter in Box(w.folder / "refused").letters()
            for r in letter.refused
        ]
        assert refused == [OTHER, OTHER]
        assert w.readings() == 2 * (READINGS - 60)
        w.stub.refuse = set()
        assert Box(w.folder / "refused").ask_again(()) == 2
        await w.until(lambda: w.status.letters == 0)

    world = play(tmp_path, story, habits)
    assert (world.readings(), world.stub.repeated()) == (2 * READINGS, 0)


def test_a_letter_that_is_refused_again_stays_and_is_not_offered_for_ever(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.stub.refuse = {OTHER}
        w.start()
        w.hold(0)
        await w.settled()
        box = Box(w.folder / "refused")
        box.ask_again(())
        await w.until(lambda: not any(letter.again for letter in box.letters()))
        requests = len(w.stub.requests)
        await w.clock.sleep_until(w.clock.monotonic() + 300)
        assert len(w.stub.requests) == requests
        assert w.status.letters == 1

    play(tmp_path, story)


def test_a_broker_that_takes_nothing_stops_the_queue_and_is_named(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        for seq in range(5):
            w.hold(seq)
        w.stub.refuse = {str(e["id"]) for e in delivery(0).entities}
        w.start()
        await w.until(lambda: w.status.code == "direct.refused")
        await w.clock.sleep_until(w.clock.monotonic() + 1800)
        assert w.status.state is UplinkState.REFUSED
        assert len(w.ring.held()) == 5
        assert w.status.letters == 0
        w.stub.refuse = set()
        await w.settled()

    world = play(tmp_path, story)
    assert (world.readings(), world.stub.repeated()) == (5 * READINGS, 0)


def test_one_batch_that_cannot_be_taken_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        entity = {
            "id": "urn:ngsi-ld:Bad:1",
            "type": "urn:lamppost:Gap",
            "urn:x:y": {"type": "Property", "value": 1},
        }
        w.ring.append([Record(READINGS, b"")])
        sealed = plain(orjson.dumps([entity]))
        batch = Batch(
            w.ring.epoch, 0, Span(0, READINGS - 1), sealed.digest, sealed.leaf, sealed.message
        )
        w.ring.hold(batch)
        w.stub.refuse = {"urn:ngsi-ld:Bad:1"}
        w.start()
        await w.until(lambda: w.status.code == "direct.refused")
        for seq in (1, 2):
            w.hold(seq)
        await w.settled()
        assert w.status.entities_refused == 1
        assert w.status.code is None

    world = play(tmp_path, story)
    assert (world.readings(), world.stub.repeated()) == (2 * READINGS, 0)


def test_a_broker_without_history_is_named_and_the_site_may_choose(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        for seq in range(3):
            w.hold(seq)
        w.start()
        await w.until(lambda: w.status.code == "broker.no-temporal-api")
        assert w.status.state is UplinkState.REFUSED
        await w.kill()
        w.settings.history = "latest"
        w.start()
        await w.settled()
        assert w.status.instances_left_out > 0

    world = play(tmp_path, story, ORION)
    assert world.stub.value(METER, VOLTAGE)["L1"] == 232.0


def test_an_older_batch_never_replaces_a_newer_value_even_after_a_restart(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.start()
        w.hold(0)
        await w.settled()
        await w.kill()
        late = plain(orjson.dumps(delivery(-5).entities))
        w.ring.append([Record(READINGS, b"")])
        span = Span(READINGS, 2 * READINGS - 1)
        w.ring.hold(Batch(w.ring.epoch, 1, span, late.digest, late.leaf, late.message))
        w.start()
        await w.settled()

    world = play(tmp_path, story)
    assert world.stub.value(METER, VOLTAGE)["L1"] == 230.0
    assert world.readings() == 2 * READINGS


def test_draining_waits_for_the_answer_and_no_longer_than_allowed(tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.start()
        w.hold(0)
        w.direct.notify()
        assert await w.direct.drained(w.clock.monotonic() + 60)
        w.stub.faults = [Fault(not_connected=True)] * 200
        w.hold(1)
        w.direct.notify()
        assert not await w.direct.drained(w.clock.monotonic() + 20)

    play(tmp_path, story)


# -- the journal ---------------------------------------------------------------------------------------------------


async def test_a_torn_journal_gives_what_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "direct.journal"
    journal = Journal.open(path)
    await journal.open_job("e/0-3")
    await journal.part_done("e/0-3", "p1")
    await journal.advance({("urn:a", "urn:b", ""): 5})
    journal.close()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        again = Journal.open(path)
        lines = whole[:length].count(b"\n")
        assert (again.opened() == ["e/0-3"]) is (lines >= 2)
        assert (await again.newest(["urn:a"]) == {("urn:a", "urn:b", ""): 5}) is (lines >= 4)
        assert again.damaged == 0
        again.close()


async def test_a_damaged_line_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "direct.journal"
    path.write_bytes(b'["open","e/0-0"]\n\xff\xfe\n["newest",[["a","b","c"]]]\n["done","e/0-0"]\n')
    journal = Journal.open(path)
    assert (journal.damaged, journal.opened(), journal.finished()) == (2, [], ["e/0-0"])
    journal.close()


async def test_the_journal_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "direct.journal"
    journal = Journal.open(path)
    for minute in range(200):
        job = f"e/{minute}-{minute}"
        await journal.open_job(job)
        await journal.advance({(f"urn:e{n}", "urn:a", ""): minute for n in range(400)})
        await journal.close_job(job)
    journal.close()
    assert path.stat().st_size < 1_200_000
    again = Journal.open(path)
    assert await again.newest(["urn:e7"]) == {("urn:e7", "urn:a", ""): 199}
    assert again.finished()[-1] == "e/199-199"
    again.close()


def test_the_box_is_bounded_and_counts_what_it_gave_up(tmp_path: Path) -> None:
    box = Box(tmp_path / "refused", limit=4000)
    for n in range(20):
        box.keep(
            f"e/{n}-{n}", [{"status": 400, "problem": {"title": "no"}, "entity": {"id": "x" * 500}}]
        )
    letters = box.letters()
    assert sum(letter.size for letter in letters) <= 4000
    assert letters[-1].job == "e/19-19"
    assert box.dropped() == 20 - len(letters) > 0
