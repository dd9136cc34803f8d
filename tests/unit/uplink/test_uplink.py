"""The uplink in virtual time: each trouble of broker and hub, by name, and the way back."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.uplink_world import EPOCH, GATEWAY, Broker, Dice, Hub, Identity, Ring, Settings, signer
from fakes.virtual_clock import VirtualClock, run
from lamppost.envelope.receipt import issue_receipt
from lamppost.uplink import Uplink, UplinkState


@dataclass
class World:
    """One gateway's uplink, its ring, a broker and a hub."""

    clock: VirtualClock
    ring: Ring
    hub: Hub
    broker: Broker
    uplink: Uplink

    def code(self) -> str | None:
        return self.uplink.status().code

    async def until(self, reached: Callable[[], bool], limit: float = 7200) -> None:
        async with asyncio.timeout(limit):
            while not reached():
                await asyncio.sleep(0.25)

    async def drain(self, limit: float = 7200) -> None:
        assert await self.uplink.drained(self.clock.monotonic() + limit)


Story = Callable[[World], Awaitable[None]]
Play = Callable[[Story], World]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a story while the uplink runs; everything after it can be looked at."""

    def played(story: Story, dice: Dice | None = None) -> World:
        async def main(clock: VirtualClock) -> World:
            async with world(clock, tmp_path) as made:
                await story(made)
                return made

        return run(main)

    return played


@asynccontextmanager
async def world(clock: VirtualClock, folder: Path) -> AsyncIterator[World]:
    key = signer(folder)
    hub = Hub(key)
    ring = Ring(proved=lambda seq: seq in hub.receipted)
    broker = Broker(hub)
    identity = Identity(GATEWAY, {key.kid: key.public})
    uplink = Uplink(Settings(), identity, ring, clock, transport=broker, chance=random.Random(7))
    running = asyncio.create_task(uplink.run())
    try:
        yield World(clock, ring, hub, broker, uplink)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_sends_as_held_and_settles_by_receipt(play: Play) -> None:
    async def story(w: World) -> None:
        w.ring.hold(20)
        w.uplink.notify()
        await w.drain()

    w = play(story)
    assert w.ring.settled == list(range(20))
    assert w.hub.stored == w.broker.published == [f"batch {n}".encode() for n in range(20)]
    status = w.uplink.status()
    assert (status.batches_sent, status.batches_resent, status.receipts_verified) == (20, 0, 20)
    assert status.bytes_sent == sum(len(m) for m in w.broker.published)
    assert status.last_receipt is not None


def test_says_connected_while_all_is_well(play: Play) -> None:
    async def story(w: World) -> None:
        await asyncio.sleep(0.01)
        assert w.uplink.status().state is UplinkState.CONNECTING
        await asyncio.sleep(1)
        status = w.uplink.status()
        assert (status.state, status.code, status.hint) == (UplinkState.CONNECTED, None, "")
        since = status.since
        w.ring.hold(1)
        w.uplink.notify()
        await w.drain()
        assert w.uplink.status().since == since

    assert play(story).uplink.status().state is UplinkState.STOPPED


def test_a_puback_settles_nothing(play: Play) -> None:
    async def story(w: World) -> None:
        w.hub.silent = True
        w.ring.hold(3)
        w.uplink.notify()
        assert not await w.uplink.drained(w.clock.monotonic() + 3600)
        assert w.code() == "uplink.no-receipt"
        assert w.ring.settled == []
        w.hub.silent = False
        await w.drain()
        assert w.code() is None

    w = play(story)
    assert set(w.hub.received[:10]) == {0}
    assert w.ring.settled == [0, 1, 2]


def test_nobody_listens_at_the_broker(play: Play) -> None:
    async def story(w: World) -> None:
        w.broker.nobody = w.hub.silent = True
        w.ring.hold(1)
        w.uplink.notify()
        await w.until(lambda: w.code() == "uplink.no-receiver", 5)
        assert "lamppost-hub receive" in w.uplink.status().hint
        w.broker.nobody = w.hub.silent = False
        await w.drain()
        assert w.code() is None

    play(story)


def test_outage_is_waited_out_with_growing_shortened_delays(play: Play) -> None:
    async def story(w: World) -> None:
        await asyncio.sleep(40)
        w.broker.down = "uplink.unreachable"
        w.broker.cut()
        tries = []
        for _ in range(400):
            await asyncio.sleep(1)
            at = w.uplink.status().next_try
            if at is not None and at not in tries:
                tries.append(at)
        status = w.uplink.status()
        assert status.state in (UplinkState.WAITING, UplinkState.CONNECTING)
        assert status.code == "uplink.unreachable"
        assert w.clock.now().ns - status.since.ns > 390e9
        delays = [(b.ns - a.ns) / 1e9 for a, b in itertools.pairwise(tries)]
        assert delays[0] < 4
        assert all(25 <= delay <= 65 for delay in delays[7:])
        assert len(set(delays[7:])) == len(delays[7:])
        w.broker.down = None
        w.ring.hold(5)
        w.uplink.notify()
        await w.drain(70)

    assert play(story).uplink.status().connections == 2


def test_flapping_broker_does_not_spin(play: Play) -> None:
    async def story(w: World) -> None:
        for _ in range(600):
            await asyncio.sleep(1)
            w.broker.cut()

    assert play(story).broker.connections < 40


@pytest.mark.parametrize(
    "code",
    ["uplink.refused-certificate", "uplink.wrong-server", "uplink.tls-version", "uplink.clock"],
)
def test_refusals_are_named_and_heal(play: Play, code: str) -> None:
    async def story(w: World) -> None:
        w.broker.down = code
        w.broker.cut()
        await w.until(lambda: w.uplink.status().state is UplinkState.REFUSED, 10)
        status = w.uplink.status()
        assert status.code == code
        assert status.hint
        w.broker.down = None
        await w.until(lambda: w.code() is None, 120)

    play(story)


def test_hurries_when_a_new_bundle_is_installed(play: Play) -> None:
    async def story(w: World) -> None:
        w.broker.down = "uplink.refused-certificate"
        w.broker.cut()
        await asyncio.sleep(600)
        w.broker.down = None
        w.uplink.adopt({w.hub.key.kid: w.hub.key.public})
        await w.until(lambda: w.uplink.status().state is UplinkState.CONNECTED, 1)

    play(story)


def test_forbidden_topic_is_refused_slowly_and_nothing_is_dropped(play: Play) -> None:
    async def story(w: World) -> None:
        w.broker.deny = "uplink.not-authorised"
        w.hub.silent = True
        w.ring.hold(5)
        w.uplink.notify()
        await asyncio.sleep(3600)
        status = w.uplink.status()
        assert (status.state, status.code) == (UplinkState.REFUSED, "uplink.not-authorised")
        assert status.held == 5
        assert len(w.broker.published) < 15
        w.broker.deny, w.hub.silent = None, False
        await w.drain()

    assert play(story).ring.settled == [0, 1, 2, 3, 4]


def test_hub_that_does_not_know_us_is_asked_slowly(play: Play) -> None:
    async def story(w: World) -> None:
        w.hub.refuse = "envelope.unknown-signer"
        w.ring.hold(5)
        w.uplink.notify()
        await asyncio.sleep(3600)
        status = w.uplink.status()
        assert (status.state, status.code) == (UplinkState.REFUSED, "envelope.unknown-signer")
        assert (status.held, status.last_refusal) == (5, "envelope.unknown-signer")
        assert status.batches_sent < 15
        w.hub.refuse = None
        await w.drain()
        assert w.code() is None

    assert play(story).ring.settled == [0, 1, 2, 3, 4]


def test_mute_broker_is_slow_and_left(play: Play) -> None:
    async def story(w: World) -> None:
        w.broker.mute = True
        w.ring.hold(2)
        w.uplink.notify()
        await w.until(lambda: w.code() == "uplink.slow", 60)
        w.broker.mute = False
        await w.drain()

    w = play(story)
    assert w.ring.settled == [0, 1]
    assert w.uplink.status().batches_resent >= 1


def test_hub_restored_from_an_old_backup_is_named(play: Play) -> None:
    async def story(w: World) -> None:
        w.ring.hold(6)
        w.uplink.notify()
        await w.drain()
        del w.hub.stored[3:]
        w.ring.hold(2)
        w.uplink.notify()
        await w.until(lambda: w.code() == "uplink.hub-behind")
        status = w.uplink.status()
        assert (status.state, status.held) == (UplinkState.REFUSED, 2)
        assert "backup" in status.hint

    assert play(story).ring.settled == list(range(6))


def test_a_disk_that_cannot_settle_is_survived(play: Play) -> None:
    async def story(w: World) -> None:
        w.ring.broken = True
        w.ring.hold(2)
        w.uplink.notify()
        await asyncio.sleep(60)
        assert w.ring.settled == []
        sent = len(w.broker.published)
        w.ring.broken = False
        await w.drain(10)
        assert len(w.broker.published) == sent

    assert play(story).ring.settled == [0, 1]


def test_a_receipt_that_came_with_the_last_bytes_counts(play: Play) -> None:
    async def story(w: World) -> None:
        w.hub.silent = True
        w.ring.hold(1)
        w.uplink.notify()
        await asyncio.sleep(1)
        w.hub.silent = False
        w.broker.down = "uplink.unreachable"
        for answer in w.hub.receive(w.ring.batches[0].message):
            w.broker.say(answer)
        w.broker.cut()
        await asyncio.sleep(1)
        assert w.ring.settled == [0]

    play(story)


def test_receipts_that_prove_nothing_are_counted(play: Play, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        w.ring.hold(1)
        w.uplink.notify()
        await w.drain()
        w.hub.silent = True
        w.ring.hold(1)
        w.uplink.notify()
        await asyncio.sleep(1)
        true = w.hub.receipt(0)
        stranger = signer(tmp_path, "stranger")
        for message in (
            true,  # a replay
            b"",
            b"\xa0" * 2000,
            true[:-1],
            w.hub.receipt(0, gateway="gw-0002"),
            issue_receipt(
                stranger, gateway=GATEWAY, epoch=EPOCH, seq=1, log_size=2,
                root=w.hub.log.root(), path=[b"\0" * 32],
            ),
            issue_receipt(
                w.hub.key, gateway=GATEWAY, epoch=EPOCH, seq=1, log_size=2,
                root=w.hub.log.root(), path=[b"\0" * 32],
            ),
        ):  # fmt: skip
            w.broker.say(message)
        await asyncio.sleep(1)
        status = w.uplink.status()
        assert (status.receipts_verified, status.receipts_foreign, status.receipts_bad) == (1, 1, 6)
        assert status.last_bad == "receipt.signature"
        assert status.held == 1

    play(story)


def test_hub_key_rotated_while_a_backlog_drains(play: Play, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        old, new = w.hub.key, signer(tmp_path, "new-key")
        w.ring.hold(400)
        w.uplink.notify()
        await w.until(lambda: len(w.ring.settled) > 5)
        w.hub.key = new
        await asyncio.sleep(5)
        assert w.uplink.status().last_bad == "receipt.unknown-hub-key"
        w.uplink.adopt({old.kid: old.public, new.kid: new.public})
        await w.drain()
        w.hub.silent = True
        w.ring.hold(1)
        w.uplink.notify()
        w.uplink.adopt({new.kid: new.public})
        await asyncio.sleep(1)
        w.hub.key = old
        w.hub.silent = False
        assert not await w.uplink.drained(w.clock.monotonic() + 300)

    play(story)


def test_drained_says_no_at_its_deadline(play: Play) -> None:
    async def story(w: World) -> None:
        w.hub.silent = True
        w.ring.hold(1)
        before = w.clock.monotonic()
        assert not await w.uplink.drained(before + 5)
        assert w.clock.monotonic() == before + 5
        w.ring.batches.clear()
        assert await w.uplink.drained(before)

    play(story)
