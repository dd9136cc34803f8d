"""From the archive to the sinks: order, back-off, dead letters, restarts, several sinks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from lamppost.envelope.seal import SignerRecord
from lamppost.errors import HubError
from lamppost_hub.delivery import Delivery
from lamppost_hub.forward import Archive, Forwarder
from lamppost_hub.queue import Queue
from lamppost_hub.recent import Recent
from lamppost_hub.registry import Registry
from lamppost_hub.sink_choice import sink_name
from lamppost_hub.thread import DatabaseThread
from unit.hub.world import HUB, HubWorld, SealingGateway


class ListSink:
    """Keeps what it takes; raises what `fail` holds for a (gateway, seq), as often as it holds it."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.deliveries: list[Delivery] = []
        self.fail: dict[tuple[str, int], list[Exception]] = {}

    async def write(self, delivery: Delivery) -> None:
        key = (delivery.gateway, delivery.seq)
        if self.fail.get(key):
            raise self.fail[key].pop(0)
        self.taken.append(key)
        self.deliveries.append(delivery)

    async def close(self) -> None:
        pass


def waits() -> HubError:
    return HubError("try later", code="sink.unreachable", hint="", retry=True)


def never() -> HubError:
    return HubError("no such attribute", code="sink.refused", hint="", retry=False)


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread()
    yield thread
    thread.close()


class Chain:
    """One sink and its forwarder over the world's queue."""

    def __init__(self, world: HubWorld, thread: DatabaseThread, name: str = "list") -> None:
        self.sink = ListSink()
        self.queue = Queue(world.database)
        archive = Archive(HUB, Registry(world.database).signer_of)
        self.forwarder = Forwarder(
            name, self.sink, self.queue, archive, thread, world.clock, lanes=2
        )

    async def drain(self) -> None:
        while await self.forwarder.round():
            pass


@pytest.fixture
async def chain(world: HubWorld, thread: DatabaseThread) -> AsyncIterator[Chain]:
    yield Chain(world, thread)


async def test_every_batch_arrives_once_and_in_order(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    other = world.enrol("gw-2")
    world.intake.take([g.next() for _ in range(50) for g in (gateway, other)])
    await chain.drain()
    assert [seq for name, seq in chain.sink.taken if name == "gw-1"] == list(range(50))
    assert [seq for name, seq in chain.sink.taken if name == "gw-2"] == list(range(50))
    delivery = chain.sink.deliveries[-1]
    assert (delivery.span_first, delivery.span_last) == (490, 499)
    assert delivery.received_ns == world.clock.utc()
    assert chain.queue.backlog("list") == 0


async def test_a_restart_repeats_at_most_the_last_lane(
    world: HubWorld, gateway: SealingGateway, thread: DatabaseThread
) -> None:
    world.intake.take([gateway.next() for _ in range(40)])
    first = Chain(world, thread)
    await first.drain()
    world.reopen()
    second = Chain(world, thread)
    world.intake.take([gateway.next()])
    await second.drain()
    assert second.sink.taken == [("gw-1", 40)]


async def test_a_failure_that_can_heal_keeps_the_order_and_backs_off(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    other = world.enrol("gw-2")
    world.intake.take([g.next() for _ in range(4) for g in (gateway, other)])
    chain.sink.fail[("gw-1", 2)] = [waits(), waits()]
    await chain.drain()
    assert [key for key in chain.sink.taken if key[0] == "gw-1"] == [("gw-1", 0), ("gw-1", 1)]
    assert len([key for key in chain.sink.taken if key[0] == "gw-2"]) == 4
    assert not await chain.forwarder.round()  # still pausing
    world.clock.ns += 2 * 10**9
    await chain.drain()
    world.clock.ns += 2 * 10**9
    await chain.drain()
    assert [seq for name, seq in chain.sink.taken if name == "gw-1"] == [0, 1, 2, 3]
    assert chain.queue.dead_letters() == []


async def test_a_refusal_for_good_is_a_dead_letter_and_can_be_retried(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    world.intake.take([gateway.next() for _ in range(3)])
    chain.sink.fail[("gw-1", 1)] = [never(), never(), waits()]
    await chain.drain()
    assert chain.sink.taken == [("gw-1", 0), ("gw-1", 2)]
    (letter,) = chain.queue.dead_letters()
    assert (letter.seq, letter.state, letter.code) == (1, "parked", "sink.refused")
    assert chain.queue.retry(None) == 1
    await chain.drain()  # refused again
    assert chain.queue.dead_letters()[0].state == "parked"
    assert chain.queue.retry((letter.number,)) == 1
    await chain.drain()  # not now
    assert chain.queue.dead_letters()[0].state == "queued"
    world.clock.ns += 10 * 10**9
    await chain.drain()
    assert chain.queue.dead_letters() == []
    assert chain.sink.taken[-1] == ("gw-1", 1)
    assert chain.queue.retry((letter.number,)) == 0


@pytest.mark.parametrize("content", [b"{}", b"[1]", b"not JSON", b'["a"]'])
async def test_a_signed_payload_that_is_no_batch_is_a_dead_letter(
    world: HubWorld, gateway: SealingGateway, chain: Chain, content: bytes
) -> None:
    world.intake.take([gateway.next(content=content), gateway.next()])
    await chain.drain()
    assert chain.sink.taken == [("gw-1", 1)]
    assert chain.queue.dead_letters()[0].code == "sink.payload"


async def test_a_sink_that_breaks_on_one_batch_goes_on(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    world.intake.take([gateway.next(), gateway.next()])
    chain.sink.fail[("gw-1", 0)] = [KeyError("id")]
    await chain.drain()
    assert chain.sink.taken == [("gw-1", 1)]
    assert chain.queue.dead_letters()[0].code == "sink.internal"


async def test_a_damaged_archive_is_noticed_before_it_is_forwarded(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    world.intake.take([gateway.next(), gateway.next()])
    body = bytearray(gateway.batches[0].body)
    body[len(body) // 2] ^= 1
    world.database.run("UPDATE entries SET body = ? WHERE seq = 0", bytes(body))
    await chain.drain()
    assert chain.sink.taken == [("gw-1", 1)]
    assert chain.queue.dead_letters()[0].code.startswith("envelope.")


async def test_every_sink_has_its_own_bookmark(
    world: HubWorld, gateway: SealingGateway, chain: Chain, thread: DatabaseThread
) -> None:
    world.intake.take([gateway.next() for _ in range(3)])
    await chain.drain()
    late = Chain(world, thread, "late")
    await late.drain()
    assert late.sink.taken == chain.sink.taken
    assert chain.queue.sinks() == ["late", "list"]


async def test_the_archive_of_a_revoked_gateway_is_still_delivered(
    world: HubWorld, gateway: SealingGateway, chain: Chain
) -> None:
    world.intake.take([gateway.next()])
    Registry(world.database).revoke("gw-1")
    await chain.drain()
    assert chain.sink.taken == [("gw-1", 0)]


def test_a_sink_keeps_its_name_when_only_its_options_change() -> None:
    plain = sink_name("ngsi-ld:https://broker.example:1026/")
    assert plain == "ngsi-ld:https://broker.example:1026"
    assert sink_name("ngsi-ld:https://broker.example:1026?history=replay&ca=x.pem") == plain
    assert sink_name("ngsi-ld:https://broker.example:1026?tenant=city") == plain + "#city"
    assert sink_name("jsonl:/tmp/a?b") == "jsonl:/tmp/a?b"


def test_parking_moves_the_bookmark_in_the_same_transaction(
    world: HubWorld, gateway: SealingGateway
) -> None:
    world.intake.take([gateway.next(), gateway.next()])
    queue = Queue(world.database)
    first, second = queue.next_of("list", "gw-1", 2)
    queue.park("list", first, "sink.refused", "no", 1)
    world.reopen()
    assert Queue(world.database).next_of("list", "gw-1", 2) == [second]


async def test_what_was_just_verified_is_not_verified_again_and_what_is_damaged_is(
    world: HubWorld, gateway: SealingGateway, thread: DatabaseThread
) -> None:
    asked = []

    def signer_of(kid: bytes) -> SignerRecord | None:
        asked.append(kid)
        return Registry(world.database).signer_of(kid)

    archive = Archive(HUB, signer_of, world.intake.recent)
    sink, queue = ListSink(), Queue(world.database)
    forwarder = Forwarder("list", sink, queue, archive, thread, world.clock)
    world.intake.take([gateway.next() for _ in range(3)])
    world.database.run("UPDATE entries SET body = ? WHERE seq = 1", b"damaged")
    while await forwarder.round():
        pass
    assert [seq for _, seq in sink.taken] == [0, 2]
    assert asked == []  # the damaged one was not even a message
    assert queue.dead_letters()[0].code.startswith("envelope.")


def test_recent_payloads_are_bounded() -> None:
    recent = Recent(limit=10)
    for number in range(5):
        recent.keep(bytes([number]), b"four")
    recent.keep(bytes([4]), b"four!")
    assert [recent.get(bytes([number])) for number in range(5)] == [
        None,
        None,
        None,
        b"four",
        b"four!",
    ]
    recent.keep(b"large", bytes(11))
    assert recent.get(b"large") is None
