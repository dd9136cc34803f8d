"""Whatever broker, line and power do: each batch settles exactly once, in order, and never without a receipt."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.uplink_world import GATEWAY, Broker, Dice, Hub, Identity, Ring, Settings, signer
from fakes.virtual_clock import VirtualClock, run
from lamppost.envelope.keys import FileSigner
from lamppost.uplink import Uplink

BATCHES = 30
HOURS = 12 * 3600.0


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    return signer(tmp_path_factory.mktemp("hub"))


def dice() -> st.SearchStrategy[Dice]:
    chance = st.sampled_from([0.0, 0.05, 0.3])
    return st.builds(
        Dice,
        lose=chance,
        repeat=chance,
        cut=st.sampled_from([0.0, 0.02, 0.1]),
        garble=chance,
        latency=st.sampled_from([0.001, 0.5, 5.0]),
        reorder=st.booleans(),
        refuse_connect=chance,
    )


async def deliver(
    clock: VirtualClock, key: FileSigner, rolled: Dice, seed: int
) -> tuple[Ring, Hub, Broker]:
    """Batches come while the gateway restarts now and then; returns when all are settled."""
    chance = random.Random(seed)
    hub = Hub(key)
    ring = Ring(proved=lambda seq: seq in hub.receipted)
    broker = Broker(hub, rolled, chance)
    limit = chance.choice([1, 3, 8])
    async with asyncio.timeout(HOURS):
        while len(ring.settled) < BATCHES:
            broker.cut()  # a restart forgets everything but the ring
            uplink = Uplink(
                Settings(in_flight=limit),
                Identity(GATEWAY, {key.kid: key.public}),
                ring,
                clock,
                transport=broker,
                chance=chance,
            )
            running = asyncio.create_task(uplink.run())
            for _ in range(chance.randrange(1, 40)):
                room = BATCHES - len(ring.settled) - len(ring.batches)
                ring.hold(min(room, chance.randrange(4)))
                uplink.notify()
                await uplink.drained(clock.monotonic() + chance.uniform(0, 200))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    return ring, hub, broker


@settings(max_examples=60, deadline=None)
@given(rolled=dice(), seed=st.integers(0, 2**32))
def test_exactly_once_in_order_by_receipt(key: FileSigner, rolled: Dice, seed: int) -> None:
    check(key, rolled, seed)


@pytest.mark.long
@settings(max_examples=1500, deadline=None)
@given(rolled=dice(), seed=st.integers(0, 2**32))
def test_exactly_once_in_order_by_receipt_at_length(
    key: FileSigner, rolled: Dice, seed: int
) -> None:
    check(key, rolled, seed)


def check(key: FileSigner, rolled: Dice, seed: int) -> None:
    """`Ring.settle` itself asserts order and receipt."""
    ring, hub, broker = run(lambda clock: deliver(clock, key, rolled, seed))
    expected = [f"batch {n}".encode() for n in range(BATCHES)]
    assert ring.settled == list(range(BATCHES))
    assert hub.stored == expected
    assert set(broker.published) == set(expected)  # byte for byte, however often
    assert len(broker.published) < 200 * BATCHES


def test_an_honest_line_costs_one_message_a_batch(key: FileSigner) -> None:
    async def main(clock: VirtualClock) -> Broker:
        hub = Hub(key)
        ring, broker = Ring(), Broker(hub)
        identity = Identity(GATEWAY, {key.kid: key.public})
        uplink = Uplink(Settings(), identity, ring, clock, transport=broker)
        running = asyncio.create_task(uplink.run())
        ring.hold(500)
        uplink.notify()
        assert await uplink.drained(clock.monotonic() + 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return broker

    assert len(run(main).published) == 500
