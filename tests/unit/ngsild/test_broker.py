"""Writing to a broker with each broker's habits and faults: right state, right history, nothing twice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from fakes.stub_broker import (
    BROKERS,
    ORION,
    ORION_TROE,
    SCORPIO,
    Fault,
    Habits,
    StubBroker,
)
from fakes.windows import MINUTE, START, counter, gauge, plan
from lamppost.errors import HubError
from lamppost.ngsild.broker import Api, Broker, History, Outcome, Refusal, RememberedWrites
from lamppost.ngsild.credentials import ClientCredentials
from lamppost.ngsild.devices import (
    Alarm,
    alert_entity,
    device_entities,
    model_entities,
)
from lamppost.ngsild.entities import DeviceState, entities_of
from lamppost.ngsild.normalized import utc_text
from lamppost.ngsild.plan import Entity

PM25 = "https://smartdatamodels.org/dataModel.Environment/pm25"
AIR = "urn:ngsi-ld:AirQualityObserved:gw-1:dev"

anyone = pytest.mark.parametrize("habits", BROKERS, ids=lambda h: h.name)


class Bench:
    """A stub broker and a writer that counts its pauses instead of sleeping."""

    def __init__(
        self, habits: Habits = ORION_TROE, *, history: History = "temporal", tenant: str = ""
    ) -> None:
        self.stub = StubBroker(habits)
        self.pauses: list[float] = []
        self.refused: list[Refusal] = []
        self.memory = RememberedWrites()
        self.history: History = history
        self.tenant = tenant
        self.broker = self.restarted()

    def restarted(self) -> Broker:
        """A new writer over the same memory, as after a restart with a durable one."""
        api = Api(self.stub.client(), tenant=self.tenant, sleep=self._sleep, jitter=lambda: 0.0)
        self.broker = Broker(api, self.memory, history=self.history)
        return self.broker

    async def write(self, entities: Sequence[Entity], job: str = "job") -> Outcome:
        outcome = await self.broker.write(entities, job)
        self.refused = outcome.refused
        return outcome

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def air(*minutes: int, device: str = "dev") -> list[Entity]:
    """One AirQualityObserved window for each minute."""
    windows = [gauge("pm25", float(m), device=device, start=START + m * MINUTE) for m in minutes]
    return entities_of(windows, plan(("pm25", "ug/m3"), device=device))


def when(minute: int) -> str:
    return utc_text(START + minute * MINUTE + 59_000_000_000)


@anyone
async def test_every_payload_kind_is_taken(habits: Habits) -> None:
    bench = Bench(habits)
    site = plan(("voltage.l1", "V"), ("voltage.l2", "V"), ("energy.import", "kWh"), ("x", ""))
    windows = [gauge("voltage.l1", 230.0), gauge("voltage.l2", 231.0)]
    windows += [counter("energy.import", 5.0, 1.0), counter("x", "text")]
    entities = entities_of(windows, site)
    entities += device_entities(site, {"dev": DeviceState("ok", START)}, START)
    entities += [*model_entities(site), alert_entity(site, Alarm("r", "dev", START, "low", "text"))]
    outcome = await bench.write(entities)
    assert (outcome.live, outcome.refused, bench.refused) == (len(entities), [], [])
    again = await bench.write(entities, "again")  # what has no time is written again, harmlessly
    assert again.repeated > 0
    assert bench.stub.repeated() == 0


@anyone
async def test_a_backlog_ends_with_the_newest(habits: Habits) -> None:
    bench = Bench(habits)
    outcome = await bench.write(air(3, 1, 2, 0))
    assert bench.stub.value(AIR, PM25) == 3.0
    assert sorted(bench.stub.moments(AIR, PM25)) == [when(m) for m in range(4)]
    assert bench.stub.moments(AIR, PM25)[-1] == when(3)
    assert outcome.live == 1
    assert bench.stub.repeated() == 0


@anyone
async def test_a_late_batch_does_not_overwrite_the_current_state(habits: Habits) -> None:
    bench = Bench(habits)
    await bench.write(air(10))
    outcome = await bench.write(air(4, 5), "late")
    assert bench.stub.value(AIR, PM25) == 10.0
    assert bench.stub.moments(AIR, PM25) == [when(10), when(4), when(5)]
    assert outcome.live == 0


@anyone
@pytest.mark.parametrize("status", [0, 408, 500, 502, 504])
@pytest.mark.parametrize("applied", [True, False])
async def test_after_an_unknown_outcome_nothing_is_repeated(
    habits: Habits, status: int, applied: bool
) -> None:
    bench = Bench(habits)
    bench.stub.faults = [Fault(status, applied), Fault(status, applied)]
    await bench.write([*air(0, 1, 2), *air(5, device="other")])
    assert bench.stub.value(AIR, PM25) == 2.0
    assert bench.stub.moments(AIR, PM25) == [when(m) for m in range(3)]
    assert bench.stub.repeated() == 0


@anyone
async def test_busy_and_unreachable_are_waited_out(habits: Habits) -> None:
    bench = Bench(habits)
    bench.stub.faults = [
        Fault(429, headers={"Retry-After": "7"}),
        Fault(503),
        Fault(not_connected=True),
    ]
    await bench.write(air(0))
    assert bench.pauses == [7.0, 1.0, 2.0]
    assert bench.stub.repeated() == 0
    bench.stub.faults = [Fault(503)] * 5
    with pytest.raises(HubError) as refused:
        await bench.write(air(1), "next")
    assert (refused.value.code, refused.value.retry) == ("broker.busy", True)
    bench.stub.faults = [Fault(not_connected=True)] * 5
    with pytest.raises(HubError) as refused:
        await bench.write(air(1), "next")
    assert (refused.value.code, refused.value.retry) == ("broker.unreachable", True)
    await bench.write(air(1), "next")
    assert bench.stub.value(AIR, PM25) == 1.0


@anyone
async def test_a_207_is_read_entry_by_entry(habits: Habits) -> None:
    bench = Bench(habits)
    entities = [e for n in range(5) for e in air(0, device=f"d{n}")]
    bench.stub.refuse = {entities[1]["id"]}
    bench.stub.stumble = {entities[3]["id"]}
    outcome = await bench.write(entities)
    assert outcome.live == 4
    assert [r.entity["id"] for r in bench.refused] == [entities[1]["id"]]
    assert bench.refused[0].status == 400
    assert bench.refused[0].problem["detail"]
    assert bench.stub.repeated() == 0
    bench.stub.refuse = set()
    outcome = await bench.write(entities)  # what was refused, and nothing else, is sent again
    assert outcome.live == 1
    assert bench.stub.value(entities[1]["id"], PM25) == 0.0
    assert bench.stub.repeated() == 0


@anyone
async def test_after_a_refusal_only_what_was_refused_is_sent_again(habits: Habits) -> None:
    """Even much later, when newer batches of the same entity have been written."""
    bench = Bench(habits)
    refused, other = air(0, device="x")[0]["id"], air(0, device="y")[0]["id"]
    batch = [*air(0, 1, 2, device="x"), *air(0, 1, device="y")]
    bench.stub.refuse = {refused}
    outcome = await bench.write(batch, "parked")
    assert len(outcome.refused) == 2  # its history and its newest
    bench.stub.refuse = set()
    await bench.write([*air(5, device="x"), *air(5, device="y")], "newer")
    outcome = await bench.write(batch, "parked")
    assert outcome.refused == []
    assert bench.stub.value(refused, PM25) == 5.0
    assert sorted(bench.stub.moments(refused, PM25)) == [when(m) for m in (0, 1, 2, 5)]
    assert sorted(bench.stub.moments(other, PM25)) == [when(m) for m in (0, 1, 5)]
    assert bench.stub.repeated() == 0


async def test_207_may_mean_that_none_succeeded() -> None:
    bench = Bench()
    entities = [e for n in range(3) for e in air(0, device=f"d{n}")]
    bench.stub.refuse = {e["id"] for e in entities}
    outcome = await bench.write(entities)
    assert (outcome.live, len(bench.refused)) == (0, 3)


async def test_a_400_for_the_whole_batch_finds_the_entity_at_fault() -> None:
    bench = Bench()
    entities = [e for n in range(9) for e in air(0, device=f"d{n}")]
    entities[4][PM25]["observedAt"] = "2026-01-01T00:00:00+01:00"
    outcome = await bench.write(entities)
    assert outcome.live == 8
    assert [r.entity["id"] for r in bench.refused] == [entities[4]["id"]]


async def test_a_413_is_halved() -> None:
    bench = Bench(Habits("small", max_entities=3, max_bytes=6_000))
    entities = [e for n in range(10) for e in air(0, device=f"d{n}")]
    entities += air(*range(1, 40), device="d0")
    outcome = await bench.write(entities)
    assert (outcome.live, bench.refused) == (10, [])
    assert sorted(bench.stub.moments(AIR.replace("dev", "d0"), PM25)) == [
        when(m) for m in range(40)
    ]
    assert bench.stub.repeated() == 0


async def test_an_entity_too_large_alone_is_a_dead_letter() -> None:
    bench = Bench(Habits("tiny", max_bytes=100))
    await bench.write(air(0))
    assert [r.status for r in bench.refused] == [413]


@anyone
async def test_a_new_tenant_begins_with_a_single_entity(habits: Habits) -> None:
    bench = Bench(habits, tenant="city")
    entities = [e for n in range(5) for e in air(0, device=f"d{n}")]
    await bench.write(entities)
    assert len(bench.stub.store("city").current) == 5
    assert [status for _, _, status in bench.stub.requests] == [201, 201]


async def test_without_a_temporal_api_the_site_chooses() -> None:
    bench = Bench(ORION)
    with pytest.raises(HubError) as refused:
        await bench.write(air(0, 1))
    assert refused.value.code == "broker.no-temporal-api"
    assert "history" in refused.value.hint
    latest = Bench(ORION, history="latest")
    outcome = await latest.write(air(0, 1, 2))
    assert latest.stub.value(AIR, PM25) == 2.0
    assert outcome.left_out == 4  # pm25 and dateObserved of two windows
    replay = Bench(ORION, history="replay")
    outcome = await replay.write(air(2, 0, 1))
    assert replay.stub.moments(AIR, PM25) == [when(0), when(1), when(2)]
    assert replay.stub.value(AIR, PM25) == 2.0
    assert outcome.replayed == 2


async def test_a_replay_of_late_samples_puts_the_newer_state_back() -> None:
    bench = Bench(ORION, history="replay")
    await bench.write(air(10))
    await bench.write(air(3, 4), "late")
    assert bench.stub.moments(AIR, PM25)[:3] == [when(10), when(3), when(4)]
    assert bench.stub.value(AIR, PM25) == 10.0


@pytest.mark.parametrize("applied", [True, False])
async def test_a_replay_with_an_unknown_outcome_repeats_nothing(applied: bool) -> None:
    bench = Bench(ORION, history="replay")
    bench.stub.faults = [Fault(0, applied), Fault(504, applied)]
    await bench.write(air(2, 0, 1))
    assert bench.stub.moments(AIR, PM25) == [when(0), when(1), when(2)]


@anyone
async def test_refused_credentials_are_no_dead_letter(habits: Habits) -> None:
    bench = Bench(habits)
    bench.stub.token = "right"
    with pytest.raises(HubError) as refused:
        await bench.write(air(0))
    assert (refused.value.code, refused.value.retry) == ("broker.unauthorised", True)
    assert bench.refused == []


async def test_an_unsure_attempt_is_completed_by_the_next() -> None:
    bench = Bench()
    bench.stub.faults = [Fault(0, applied=True)] * 20
    with pytest.raises(
        HubError
    ):  # the query succeeds, so only a write that never answers can end this way
        bench.stub.token = "x"
        await bench.write(air(0, 1))
    bench.stub.token, bench.stub.faults = "", []
    bench.restarted()
    await bench.write(air(0, 1))
    assert bench.stub.moments(AIR, PM25) == [when(0), when(1)]


@anyone
async def test_stopped_anywhere_and_started_again_nothing_is_lost_or_repeated(
    habits: Habits,
) -> None:
    """The writer dies at any request, before or after the broker did the work; so does its successor."""
    entities = [*air(*range(6)), *air(0, 1, device="b"), *air(7, device="c")]
    deaths = 0
    for applied in (False, True):
        for first, second in itertools.product(range(1, 4), range(1, 6)):
            bench = Bench(habits)
            for fatal in (first, second, 99):
                _die_at(bench, fatal, applied)
                try:
                    await bench.write(entities)
                    break
                except _Killed:
                    deaths += 1
                    vars(bench.stub).pop("answer")
                    bench.restarted()
            assert bench.stub.value(AIR, PM25) == 5.0, (first, second, applied)
            assert sorted(bench.stub.moments(AIR, PM25)) == [when(m) for m in range(6)]
            assert bench.stub.repeated() == 0, (first, second, applied)
    assert deaths >= 40


class _Killed(BaseException):
    """The process ends here."""


def _die_at(bench: Bench, fatal: int, applied: bool) -> None:
    whole = bench.stub.answer
    asked = 0

    def answer(*request: Any) -> tuple[int, dict[str, str], bytes]:
        nonlocal asked
        asked += 1
        if asked == fatal:
            if applied:
                whole(*request)
            raise _Killed
        return whole(*request)

    bench.stub.answer = answer  # type: ignore[method-assign, assignment]


@anyone
@pytest.mark.parametrize("seed", range(4))
async def test_random_faults_over_many_batches(habits: Habits, seed: int) -> None:
    dice = random.Random(seed)
    bench = Bench(habits)
    minutes = list(range(60))
    dice.shuffle(minutes)
    for number in range(0, 60, 6):
        batch = [e for m in minutes[number : number + 6] for e in air(m, device=f"d{m % 2}")]
        bench.stub.faults = [
            Fault(dice.choice([0, 408, 429, 500, 503, 504]), dice.random() < 0.5)
            if dice.random() < 0.6
            else Fault(not_connected=True)
            for _ in range(dice.randrange(12))
        ]
        for fault in list(bench.stub.faults):  # "wait" means that nothing was done
            if fault.status in (429, 503) and fault.applied:
                bench.stub.faults[bench.stub.faults.index(fault)] = Fault(fault.status)
        for _ in range(6):
            try:
                await bench.write(batch, f"job {number}")
                break
            except HubError as refused:
                assert refused.retry
        else:
            pytest.fail("never written")
    for device in ("d0", "d1"):
        expected = [when(m) for m in range(60) if f"d{m % 2}" == device]
        assert sorted(bench.stub.moments(AIR.replace("dev", device), PM25)) == expected
        assert bench.stub.value(AIR.replace("dev", device), PM25) == (
            58.0 if device == "d0" else 59.0
        )
    assert bench.stub.repeated() == 0
    assert bench.refused == []


async def test_client_credentials_fetch_keep_and_renew_a_token() -> None:
    stub = StubBroker(token="t1")
    now, asked = [0.0], []

    def token(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"access_token": stub.token, "expires_in": 100})

    class Both(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/token":
                await request.aread()
                return token(request)
            return await wire.handle_async_request(request)

    wire = stub.client()._transport
    auth = ClientCredentials("http://idm.test/token", "me", "secret", lambda: now[0], "write")
    client = httpx.AsyncClient(base_url="http://broker.test", transport=Both(), auth=auth)
    broker = Broker(Api(client, sleep=_never), RememberedWrites())
    await broker.write(air(0))
    await broker.write(air(1))
    assert len(asked) == 1
    assert asked[0].content == b"grant_type=client_credentials&scope=write"
    assert asked[0].headers["Authorization"].startswith("Basic ")
    now[0] = 90.0  # before its end, but close to it
    await broker.write(air(2))
    stub.token = "t2"  # taken back: the 401 is answered with a new one
    await broker.write(air(3))
    assert len(asked) == 3
    assert stub.value(AIR, PM25) == 3.0


async def test_a_token_that_is_not_given_says_so() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": "invalid_client"})

    auth = ClientCredentials("http://idm.test/token", "me", "wrong", lambda: 0.0)
    client = httpx.AsyncClient(
        base_url="http://broker.test", transport=httpx.MockTransport(refuse), auth=auth
    )
    with pytest.raises(HubError) as refused:
        await Broker(Api(client, sleep=_never), RememberedWrites()).write(air(0))
    assert (refused.value.code, refused.value.retry) == ("broker.token", True)


async def _never(_: float) -> None:
    raise AssertionError("nothing to wait for")


async def test_over_a_real_socket() -> None:
    stub = StubBroker(SCORPIO)
    with stub.serve() as url:
        async with httpx.AsyncClient(base_url=url, timeout=5) as client:
            broker = Broker(Api(client, tenant="t", sleep=_never), RememberedWrites())
            await broker.write(air(0, 1))
    assert stub.value(AIR, PM25, "t") == 1.0
