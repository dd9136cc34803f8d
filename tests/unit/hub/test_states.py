"""Heartbeats at the hub: whose they are, which one counts, and the six states read out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lamppost.envelope.heartbeat import (
    MAX_MESSAGE,
    Heartbeat,
    open_heartbeat,
    seal_heartbeat,
    topic_of_state,
)
from lamppost.envelope.refusal import EnvelopeError
from lamppost_hub.fleet import roll
from lamppost_hub.registry import Registry
from lamppost_hub.states import LAST_WILL, Said, said, standing
from lamppost_hub.tokens import Tokens
from lamppost_hub.transport import Incoming
from unit.hub.world import START, HubWorld, SealingGateway

S = 10**9
BEAT = Heartbeat(
    at=START // S,
    up=500,
    every=900,
    version="1.2.3",
    code="ab" * 8,
    serial=7,
    site="cd" * 8,
    trial="confirmed",
    ring="ok",
    clock="synced",
    waiting=12,
    lost=0,
    devices=20,
    silent=0,
    until=0,
)


def sent(gateway: SealingGateway, beat: Heartbeat, *, topic: str = "") -> Incoming:
    who = gateway.identity
    message = seal_heartbeat(
        beat, gateway=who.gateway, aud=who.hub, signer=who.signer, hub=who.hub_encryption
    )
    return Incoming(topic or topic_of_state(who.gateway), message)


def test_the_newest_heartbeat_is_kept(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    for at, serial in ((0, 7), (30, 8), (10, 7)):  # the last one is a replay
        world.intake.take([sent(gateway, replace(BEAT, at=BEAT.at + at, serial=serial))])
    assert said(world.database)["gw-1"].beat.serial == 8


def test_one_without_a_clock_is_better_than_none(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    world.intake.take([sent(gateway, replace(BEAT, at=0, clock="unsynced"))])
    assert said(world.database)["gw-1"].beat.clock == "unsynced"


def test_nobody_is_answered_and_no_batch_is_booked(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    assert world.intake.take([sent(gateway, BEAT)]).answers == []
    taken = world.intake.take([sent(gateway, BEAT), gateway.next()])
    assert len(taken.answers) == taken.new == 1


def test_the_last_will_says_gone_and_a_heartbeat_back(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    world.intake.take([sent(gateway, BEAT)])
    world.intake.take([Incoming("lamppost/gw-1/state", LAST_WILL)])
    assert said(world.database)["gw-1"].gone == world.clock.ns
    world.intake.take([sent(gateway, replace(BEAT, at=BEAT.at + 1))])
    assert said(world.database)["gw-1"].gone == 0


def flipped(message: Incoming) -> Incoming:
    """One bit of the ciphertext is another."""
    changed = bytearray(message.payload)
    changed[60] ^= 1
    return Incoming(message.topic, bytes(changed))


REFUSED: dict[str, tuple[Callable[[SealingGateway, SealingGateway], Incoming], str]] = {
    "another's topic": (
        lambda one, other: sent(one, BEAT, topic="lamppost/gw-2/state"),
        "envelope.decrypt",
    ),
    "flipped": (lambda one, other: flipped(sent(one, BEAT)), "envelope.decrypt"),
    "too big": (
        lambda one, other: Incoming("lamppost/gw-1/state", bytes(MAX_MESSAGE + 1)),
        "envelope.too-big",
    ),
    "a batch": (
        lambda one, other: Incoming("lamppost/gw-1/state", one.next().payload),
        "envelope.decrypt",
    ),
    "nothing": (lambda one, other: Incoming("lamppost/gw-1/state", b""), "envelope.malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_counted_and_changes_nothing(world: HubWorld, name: str) -> None:
    make, code = REFUSED[name]
    one, other = world.enrol("gw-1"), world.enrol("gw-2")
    message = make(one, other)
    world.intake.take([message])
    assert said(world.database) == {}
    (count,) = world.database.rows("SELECT gateway, name, count FROM counters")
    assert (count[0], count[2]) == (message.topic.split("/")[1], 1)
    assert count[1] == code


def test_another_key_may_not_speak_for_it(world: HubWorld) -> None:
    one, other = world.enrol("gw-1"), world.enrol("gw-2")
    who = replace(one.identity, signer=other.identity.signer)
    forged = seal_heartbeat(
        BEAT, gateway="gw-1", aud=who.hub, signer=who.signer, hub=who.hub_encryption
    )
    world.intake.take([Incoming("lamppost/gw-1/state", forged)])
    assert said(world.database) == {}


def test_a_revoked_gateway_is_not_listened_to(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    Registry(world.database).revoke("gw-1")
    world.intake.take([sent(gateway, BEAT)])
    assert said(world.database) == {}


def test_texts_that_are_too_long_are_not_sent(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    for beat in (
        replace(BEAT, version="x" * 65),
        replace(BEAT, wrong=("x",) * 9),
        replace(BEAT, clock="a\nb"),
        replace(BEAT, waiting=-1),
    ):
        with pytest.raises((ValueError, EnvelopeError)):
            sent(gateway, beat)


def test_the_largest_heartbeat_fits(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    full = replace(BEAT, wrong=("a" * 32,) * 8, until=2**40, waiting=2**40, lost=2**40)
    assert len(sent(gateway, full).payload) <= MAX_MESSAGE


STANDING = [
    # state of the registry, seconds since a batch, heartbeat, seconds since it, what the hub says
    ("active", 5, BEAT, 5, "ok"),
    ("active", 5, BEAT, 5_000, "ok"),  # batches come, so it lives
    ("active", 1_000, BEAT, 1_000, "late"),
    ("active", 2_000, BEAT, 2_000, "offline"),
    ("active", 5, replace(BEAT, silent=1), 5, "degraded"),
    ("active", 5, replace(BEAT, clock="unsynced"), 5, "degraded"),
    ("active", 5, replace(BEAT, ring="disk-full"), 5, "degraded"),
    ("active", 5, replace(BEAT, wrong=("bus.silent-unit",)), 5, "degraded"),
    ("active", 5, replace(BEAT, until=START // S + 60, silent=3), 5, "maintenance"),
    ("active", 5, replace(BEAT, until=START // S - 60), 5, "ok"),
    ("active", 9_000, replace(BEAT, until=START // S + 60), 9_000, "offline"),
    ("active", 5, None, 0, "ok"),
    ("active", 2_000, None, 0, "offline"),
    ("revoked", 5, BEAT, 5, "revoked"),
    ("quarantined", 5, BEAT, 5, "quarantined"),
]


@pytest.mark.parametrize("state,batch,beat,ago,expected", STANDING)
def test_states(state: str, batch: int, beat: Heartbeat | None, ago: int, expected: str) -> None:
    last = Said(beat, START - ago * S, 0) if beat else None
    assert standing(state, START - batch * S, last, START) == expected


def test_a_token_that_waits_is_a_gateway_unclaimed(world: HubWorld) -> None:
    world.enrol("gw-1")
    Tokens(world.database).make("gw-2", START)
    states = {row["gateway"]: row["state"] for row in roll(world.database, world.clock.ns)}
    assert states == {"gw-1": "offline", "gw-2": "unclaimed"}


def test_an_auditor_opens_nothing_without_the_hubs_key(world: HubWorld) -> None:
    gateway = world.enrol("gw-1")
    message = sent(gateway, BEAT)
    assert b"1.2.3" not in message.payload and b"gw-1" not in message.payload
    with pytest.raises(EnvelopeError):
        open_heartbeat(
            message.payload, message.topic, aud="hub.test", hub_keys={}, signer_of=lambda _: None
        )
