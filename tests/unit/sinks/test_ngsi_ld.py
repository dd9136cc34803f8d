"""The broker's sink: what it remembers across restarts, refusals, settings."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.deliveries import READINGS, delivery
from fakes.stub_broker import BROKERS, Fault, Habits, StubBroker
from lamppost.errors import HubError
from lamppost_hub.delivery import Delivery, readings_in
from lamppost_hub.sinks.ngsi_ld import (
    KEPT_JOBS,
    BrokerMemory,
    NgsiLdSink,
    Settings,
    read_settings,
)

anyone = pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)
METER = "urn:ngsi-ld:ThreePhaseAcMeasurement:gw-1:dev"


async def _sleep(_: float) -> None:
    return None


def opened(stub: StubBroker, folder: Path, **settings: Any) -> NgsiLdSink:
    return NgsiLdSink.open(
        Settings("http://broker.test", **settings),
        folder,
        monotonic=lambda: 0.0,
        sleep=_sleep,
        transport=stub.client()._transport,
    )


def arrived(stub: StubBroker, tenant: str = "") -> int:
    history = stub.store(tenant).history
    return sum(
        readings_in([{"id": i, name: instance}])
        for i, attributes in history.items()
        for name, instances in attributes.items()
        for instance in instances
    )


def backlog() -> Delivery:
    minutes = [delivery(seq) for seq in range(5)]
    entities = [entity for minute in minutes for entity in minute.entities]
    return Delivery("gw-1", "e1", 0, 0, 5 * READINGS - 1, 0, entities)


class Killed(BaseException):
    """The process ends here."""


@anyone
async def test_killed_at_any_request_and_opened_again_each_reading_is_there_once(
    habits: Habits, tmp_path: Path
) -> None:
    for number, (fatal, applied) in enumerate(itertools.product(range(1, 5), (False, True))):
        stub, asked = StubBroker(habits), itertools.count(1)
        folder = tmp_path / str(number)
        folder.mkdir()
        whole = stub.answer

        def answer(
            *request: Any,
            stop: int = fatal,
            done: bool = applied,
            count: Any = asked,
            go: Any = whole,
        ) -> Any:
            if next(count) == stop:
                if done:
                    go(*request)
                raise Killed
            return go(*request)

        stub.answer = answer  # type: ignore[method-assign, assignment]
        sink = opened(stub, folder)
        try:
            await sink.write(backlog())
        except Killed:
            vars(stub).pop("answer")
        await sink.close()
        sink = opened(stub, folder)
        await sink.write(backlog())
        await sink.close()
        assert arrived(stub) == 5 * READINGS
        assert stub.repeated() == 0


@anyone
async def test_what_a_broker_refuses_is_a_dead_letter_and_can_be_tried_again(
    habits: Habits, tmp_path: Path
) -> None:
    stub = StubBroker(habits)
    stub.refuse = {METER}
    sink = opened(stub, tmp_path)
    with pytest.raises(HubError) as refused:
        await sink.write(backlog())
    assert (refused.value.code, refused.value.retry) == ("sink.refused", False)
    assert METER in str(refused.value)
    assert arrived(stub) == 5 * 60  # the other entity went through
    stub.refuse = set()
    await sink.write(delivery(9))  # the lane goes on
    await sink.write(backlog())  # the operator's retry
    await sink.close()
    assert arrived(stub) == 6 * READINGS
    assert stub.repeated() == 0
    assert stub.value(METER, "https://smartdatamodels.org/dataModel.Energy/phaseVoltage") == {
        "L1": 239.0
    }


async def test_a_broker_that_is_down_is_waited_for(tmp_path: Path) -> None:
    stub = StubBroker()
    stub.faults = [Fault(not_connected=True)] * 5
    sink = opened(stub, tmp_path, tenant="city")
    with pytest.raises(HubError) as refused:
        await sink.write(delivery(0))
    assert (refused.value.code, refused.value.retry) == ("broker.unreachable", True)
    await sink.write(delivery(0))
    await sink.close()
    assert arrived(stub, "city") == READINGS


class ResetAtOnce(httpx.AsyncBaseTransport):
    """As httpx over uvloop where the peer resets a connection that was just made."""

    def __init__(self, under: httpx.AsyncBaseTransport, times: int) -> None:
        self._under = under
        self.left = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.left:
            self.left -= 1
            gone: Any = None
            gone.getpeername()
        return await self._under.handle_async_request(request)


async def test_a_connection_that_is_reset_at_once_is_no_reason_for_a_dead_letter(
    tmp_path: Path,
) -> None:
    stub = StubBroker()
    broken = ResetAtOnce(stub.client()._transport, 3)
    sink = NgsiLdSink.open(
        Settings("http://broker.test"),
        tmp_path,
        monotonic=lambda: 0.0,
        sleep=_sleep,
        transport=broken,
    )
    for _ in range(4):
        try:
            await sink.write(delivery(0))
        except HubError as error:
            assert (error.code, error.retry) == ("broker.unsure", True)
    assert broken.left == 0
    await sink.close()
    assert arrived(stub) == READINGS
    assert stub.repeated() == 0


async def test_two_tenants_of_one_broker_both_get_everything(tmp_path: Path) -> None:
    stub = StubBroker()
    for tenant in ("city", "water"):
        sink = opened(stub, tmp_path, tenant=tenant)
        await sink.write(delivery(0))
        await sink.close()
    assert arrived(stub, "city") == arrived(stub, "water") == READINGS


async def test_the_memory_forgets_old_jobs_and_nothing_else(tmp_path: Path) -> None:
    memory = BrokerMemory.open(Settings("http://broker.test"), tmp_path)
    await memory.open_job("gw/e/open")
    await memory.part_done("gw/e/open", "p1")
    for seq in range(KEPT_JOBS + 10):
        assert await memory.open_job(f"gw/e/{seq}") is None
        await memory.close_job(f"gw/e/{seq}")
    await memory.advance({("e", "a", ""): 5, ("e", "b", "d"): 7})
    await memory.advance({("e", "a", ""): 3})
    await memory.close()
    memory = BrokerMemory.open(Settings("http://broker.test"), tmp_path)
    assert await memory.open_job("gw/e/open") == frozenset({"p1"})
    assert not await memory.finished("gw/e/open")
    assert not await memory.finished("gw/e/9")
    assert await memory.finished("gw/e/10")
    assert await memory.newest(["e", "f"]) == {("e", "a", ""): 5, ("e", "b", "d"): 7}
    await memory.close()


def test_settings(tmp_path: Path) -> None:
    settings = read_settings(
        "https://broker.example:1026/base/?tenant=city&history=replay&ca=ca.pem&key=/k.pem",
        tmp_path,
    )
    assert settings == Settings(
        "https://broker.example:1026/base",
        tenant="city",
        history="replay",
        ca=str(tmp_path / "ca.pem"),
        key="/k.pem",
    )
