"""Live values ahead of a backlog: the current state is right at every moment, the history has each window once."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from msgspec import structs

from fakes.stub_broker import BROKERS, LIVE, Fault, Habits, StubBroker
from fakes.windows import MINUTE, SECOND, START, gauge, plan
from lamppost.errors import HubError
from lamppost.ngsild.broker import Api, Broker, History, RememberedWrites
from lamppost.ngsild.entities import entities_of
from lamppost.ngsild.momentary import live_entities
from lamppost.ngsild.normalized import utc_text
from lamppost.ngsild.plan import Entity, moment, plan_writes

FREQUENCY = "https://smartdatamodels.org/dataModel.Energy/frequency"
OBSERVED = "https://smartdatamodels.org/dateObserved"
DEVICES = ("m0", "m1")
anyone = pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)


def identity(device: str) -> str:
    return f"urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:{device}"


def minute(*numbers: int, datasets: bool = False) -> list[Entity]:
    """The windows of these minutes, of both devices; what they say is the number of the minute."""
    return [
        entity
        for device in DEVICES
        for number in numbers
        for entity in entities_of(
            [gauge("frequency", float(number), device=device, start=START + number * MINUTE)],
            replace(plan(("frequency", "Hz"), device=device), datasets=datasets),
        )
    ]


def live(second: float, value: float) -> list[Entity]:
    """Live values of both devices, so many seconds after the start of the first minute."""
    at = START + round(second * SECOND)
    newest = [
        structs.replace(gauge("frequency", value, device=d), start=0, end=0, observed=at)
        for d in DEVICES
    ]
    found: list[Entity] = []
    for window in newest:
        found += live_entities(
            [window], plan(("frequency", "Hz"), device=window.device), "alert-e", (0, 0)
        )
    return found


def when(number: int) -> str:
    return utc_text(START + number * MINUTE + 59 * SECOND)


def times(entities: Iterable[Entity]) -> list[str]:
    return [
        i["observedAt"]
        for e in entities
        for i in (e[FREQUENCY] if isinstance(e[FREQUENCY], list) else [e[FREQUENCY]])
    ]


# -- the plan ----------------------------------------------------------------------------------------


def test_the_window_that_ends_with_the_live_reading_still_goes_live() -> None:
    first = plan_writes(live(59, 7.0), {})
    assert len(first.live) == 2 + 1  # and what names its number
    newest = {k: at for written in first.written.values() for k, at in written.items()}
    key = (identity("m0"), FREQUENCY, "")
    assert newest[key] == moment(when(0)) - 1
    again = plan_writes(minute(0), newest)
    assert times(again.live) == [when(0)] * 2
    assert again.late == []
    assert all(LIVE not in e[OBSERVED] for e in again.live)


def test_what_comes_after_a_live_value_is_history_until_it_is_newer() -> None:
    newest = {(identity(d), FREQUENCY, ""): moment(when(5)) - 1 for d in DEVICES}
    found = plan_writes(minute(3, 4, 5, 6), newest)
    assert times(found.live) == [when(6)] * 2
    assert [i["observedAt"] for e in found.late for i in e[FREQUENCY]] == [
        when(3),
        when(4),
        when(5),
    ] * 2


def test_an_older_live_value_is_passed_over_and_never_history() -> None:
    newest = {
        (identity(d), name, ""): moment(when(5)) for d in DEVICES for name in (FREQUENCY, OBSERVED)
    }
    for second in (0, 5 * 60 + 59):
        found = plan_writes(live(second, 1.0), newest)
        assert [e["type"] for e in found.live] == ["urn:lamppost:Live"]
        assert found.late == []


def test_aggregates_that_are_instances_do_not_run_behind_the_value() -> None:
    newest = {(identity("m0"), FREQUENCY, "urn:lamppost:min"): 5}
    written = plan_writes(live(59, 7.0), newest).written[identity("m0")]
    assert written[identity("m0"), FREQUENCY, "urn:lamppost:min"] == moment(when(0)) - 1


# -- at a broker -------------------------------------------------------------------------------------


class Watched(StubBroker):
    """Looks after each request whether a current value has become older."""

    def __init__(self, habits: Habits) -> None:
        super().__init__(habits)
        self.back = 0
        self.newest: dict[str, int] = {}

    def answer(self, *request: Any) -> Any:
        try:
            return super().answer(*request)
        finally:
            for entity, attributes in self.store().current.items():
                if FREQUENCY in attributes:
                    at = moment(attributes[FREQUENCY][""]["observedAt"])
                    self.back += at < self.newest.get(entity, 0)
                    self.newest[entity] = at

    def windows(self, device: str) -> list[str]:
        """When the windows in the history were, as they came; live values are none."""
        found = self.store().history.get(identity(device), {}).get(FREQUENCY, [])
        return [i["observedAt"] for i in found if LIVE not in i]


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


def writer(stub: StubBroker, memory: RememberedWrites, history: History = "temporal") -> Broker:
    return Broker(Api(stub.client(), sleep=_no_wait), memory, history=history)


@anyone
async def test_a_backlog_with_live_values_in_between(habits: Habits) -> None:
    stub = Watched(habits)
    broker = writer(stub, RememberedWrites())
    for batch in range(6):
        now = 60 + batch  # minutes
        await broker.write(live(now * 60 + 59, 1000.0 + now), f"alert/{batch}")
        assert stub.value(identity("m0"), FREQUENCY) == 1000.0 + now
        await broker.write(minute(*range(batch * 10, batch * 10 + 10)), f"job/{batch}")
        assert stub.value(identity("m0"), FREQUENCY) == 1000.0 + now
    for number in range(
        60, 67
    ):  # those of the time of the drain, the live ones' own windows among them
        await broker.write(minute(number), f"job/{number}")
    for device in DEVICES:
        assert stub.value(identity(device), FREQUENCY) == 66.0
        assert LIVE not in stub.store().current[identity(device)][FREQUENCY][""]
        assert sorted(stub.windows(device)) == [when(n) for n in range(67)]
    assert stub.back == 0
    assert stub.repeated() == 0


@anyone
async def test_a_live_value_that_comes_while_a_slow_batch_is_written(habits: Habits) -> None:
    """The batch began when its newest window was the newest of all: what it must not do is write that now."""
    stub = Watched(habits)
    broker = writer(stub, RememberedWrites())
    whole, under_way = stub.answer, asyncio.Event()

    def answer(*request: Any) -> Any:
        under_way.set()
        return whole(*request)

    stub.answer = answer  # type: ignore[method-assign]
    stub.faults = [Fault(503)]  # the history waits once, and meanwhile …
    slow = asyncio.create_task(broker.write(minute(*range(10)), "job/0"))
    await under_way.wait()
    await broker.write(live(3000, 77.0), "alert/0")
    await slow
    for device in DEVICES:
        assert stub.value(identity(device), FREQUENCY) == 77.0
        assert sorted(stub.windows(device)) == [when(n) for n in range(10)]
    assert (stub.back, stub.repeated()) == (0, 0)


class _Killed(BaseException):
    """The process ends here."""


@anyone
async def test_killed_anywhere_with_live_values_before_the_next_attempt(habits: Habits) -> None:
    for applied, fatal in itertools.product((False, True), range(1, 4)):
        stub, memory = Watched(habits), RememberedWrites()
        whole, asked = stub.answer, itertools.count(1)

        def answer(
            *request: Any, w: Any = whole, n: Any = asked, f: int = fatal, a: bool = applied
        ) -> Any:
            if next(n) == f:
                if a:
                    w(*request)
                raise _Killed
            return w(*request)

        stub.answer = answer  # type: ignore[method-assign]
        with pytest.raises(_Killed):
            await writer(stub, memory).write(minute(*range(4)), "job/0")
        vars(stub).pop("answer")
        broker = writer(stub, memory)
        await broker.write(live(600, 77.0), "alert/0")
        await broker.write(minute(*range(4)), "job/0")
        for device in DEVICES:
            assert stub.value(identity(device), FREQUENCY) == 77.0, (applied, fatal)
            assert sorted(stub.windows(device)) == [when(n) for n in range(4)], (applied, fatal)
        assert stub.repeated() == 0, (applied, fatal)


@anyone
@pytest.mark.parametrize("applied", [True, False])
async def test_a_live_value_of_which_nothing_is_remembered_hides_no_window(
    habits: Habits, applied: bool
) -> None:
    """Another receiver has written it and not said so yet, or was killed before it could."""
    stub, memory = Watched(habits), RememberedWrites()
    broker = writer(stub, memory)
    whole = stub.answer

    def answer(*request: Any) -> Any:
        if applied:
            whole(*request)
        raise _Killed

    stub.answer = answer  # type: ignore[method-assign]
    with pytest.raises(_Killed):
        await broker.write(minute(0), "job/0")
    vars(stub).pop("answer")
    await writer(stub, RememberedWrites()).write(live(600, 77.0), "alert/0")
    await broker.write(minute(0), "job/0")
    for device in DEVICES:
        assert stub.windows(device) == [when(0)]
        assert stub.value(identity(device), FREQUENCY) == 77.0
    assert (stub.back, stub.repeated()) == (0, 0)


@anyone
@pytest.mark.parametrize("applied", [True, False])
async def test_a_live_value_that_comes_into_a_write_without_an_answer(
    habits: Habits, applied: bool
) -> None:
    stub = Watched(habits)
    broker = writer(stub, RememberedWrites())
    stub.faults = [Fault(0, applied)]
    whole = stub.answer

    def answer(method: str, target: str, headers: Any, body: bytes) -> Any:
        try:
            return whole(method, target, headers, body)
        finally:
            vars(stub).pop("answer", None)
            whole(method, target, headers, orjson.dumps(live(600, 77.0)[::2]))

    stub.answer = answer  # type: ignore[method-assign]
    for _ in range(3):
        try:
            await broker.write(minute(0), "job/0")
            break
        except HubError as unsure:
            assert unsure.retry
    for device in DEVICES:
        assert stub.windows(device) == [when(0)]
        assert stub.value(identity(device), FREQUENCY) == 77.0
    assert stub.repeated() == 0


@anyone
async def test_the_same_live_value_again_is_written_once(habits: Habits) -> None:
    stub = Watched(habits)
    broker = writer(stub, RememberedWrites())
    for job in ("alert/0", "newest/0"):
        await broker.write(live(59, 7.0), job)
    assert stub.repeated() == 0


async def _offer(
    stub: StubBroker, broker: Broker, dice: random.Random, entities: list[Entity], job: str
) -> None:
    for _ in range(8):
        if dice.random() < 0.4:
            stub.faults.append(Fault(dice.choice([0, 500, 504]), dice.random() < 0.5))
        try:
            await broker.write(entities, job)
            return
        except HubError as failed:
            assert failed.retry
    pytest.fail("never written")


@anyone
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("history", ["temporal", "replay", "latest"])
async def test_two_ways_at_a_time_with_faults(habits: Habits, history: History, seed: int) -> None:
    """Live values every minute, windows two hours behind, both in doubt now and then."""
    dice, stub = random.Random(seed), Watched(habits)
    broker = writer(stub, RememberedWrites(), history)

    async def ahead() -> None:
        for number in range(120, 160):
            values = live(number * 60 + 30, float(number))
            await _offer(stub, broker, dice, values, f"alert/{number}")

    async def chain() -> None:
        for first in range(0, 40, 5):
            windows = minute(*range(first, first + 5))
            await _offer(stub, broker, dice, windows, f"job/{first}")

    await asyncio.gather(ahead(), chain())
    for device in DEVICES:
        assert stub.value(identity(device), FREQUENCY) == 159.0
        if history != "latest":
            assert set(stub.windows(device)) == {when(n) for n in range(40)}
    if history != "replay":
        assert (stub.back, stub.repeated()) == (0, 0)
