"""Messages that are no batches of an enrolled gateway: refused with a code, counted, answered when that is safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lamppost.envelope import codec
from lamppost.envelope.keys import create_encryption_key, create_signing_key
from lamppost.envelope.receipt import Statement
from lamppost.errors import StoreError
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.books import KEPT_BYTES, KEPT_MESSAGES, Books
from lamppost_hub.ca import check_gateway_id
from lamppost_hub.intake import Intake
from lamppost_hub.ledger import Ledger
from lamppost_hub.registry import Registry
from lamppost_hub.transport import Incoming
from unit.hub.world import ALERT_EPOCH, EPOCH, HubWorld, SealingGateway


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


def refused(world: HubWorld, gateway: SealingGateway, message: Incoming) -> str:
    (answer,) = world.intake.take([message]).answers
    said = gateway.read(answer)
    assert isinstance(said, Statement)
    assert said.kind == "refused"
    return said.code


def test_damaged_messages_are_refused_and_counted(world: HubWorld, gateway: SealingGateway) -> None:
    whole = gateway.next()
    flipped = bytearray(whole.payload)
    flipped[len(flipped) // 2] ^= 1
    codes = {
        "envelope.decrypt": bytes(flipped),
        "envelope.malformed": whole.payload[:-1],
        "receiver.too-big": bytes(codec.MAX + 1),
    }
    for code, payload in codes.items():
        assert refused(world, gateway, replace(whole, payload=payload)) == code
    assert refused(world, gateway, replace(whole, payload=b"")) == "envelope.malformed"
    assert Books(world.database).counters() == {
        "gw-1": {"envelope.decrypt": 1, "envelope.malformed": 2, "receiver.too-big": 1}
    }
    newest = Books(world.database).refused(1)[0]
    assert (newest.gateway, newest.code, newest.size) == ("gw-1", "envelope.malformed", 0)


def test_a_message_for_another_hub_is_refused(world: HubWorld, gateway: SealingGateway) -> None:
    forged = gateway.forge(gateway.header(aud="hub.other"))
    assert refused(world, gateway, gateway.sent(forged)) == "envelope.audience"


def test_a_message_moved_to_another_topic_is_refused(
    world: HubWorld, gateway: SealingGateway
) -> None:
    other = world.enrol("gw-2")
    moved = replace(gateway.next(), topic="lamppost/gw-2/up")
    (answer,) = world.intake.take([moved]).answers
    assert other.read(answer) == Statement("refused", "envelope.decrypt")
    signed_by_other = SealingGateway(gateway.identity, EPOCH, "lamppost/gw-2/up").next()
    (answer,) = world.intake.take([signed_by_other]).answers
    assert other.read(answer) == Statement("refused", "envelope.topic")


@pytest.mark.parametrize(
    "topic", ["", "lamppost/gw-1/down", "lamppost/gw-1", "other/gw-1/up", "lamppost/gw-1/up/x"]
)
def test_other_topics_are_refused_without_an_answer(
    world: HubWorld, gateway: SealingGateway, topic: str
) -> None:
    taken = world.intake.take([replace(gateway.next(), topic=topic)])
    assert (taken.answers, taken.new) == ([], 0)
    assert Books(world.database).counters() == {"unknown": {"receiver.topic": 1}}


def test_strangers_are_counted_under_one_label_and_not_answered(world: HubWorld) -> None:
    messages = [Incoming(f"lamppost/stranger-{n}/up", b"hello") for n in range(50)]
    assert world.intake.take(messages).answers == []
    assert Books(world.database).counters() == {"unknown": {"envelope.malformed": 50}}


def test_a_gateway_of_a_lost_database_is_an_unknown_signer(
    world: HubWorld, gateway: SealingGateway
) -> None:
    message = gateway.next()
    world.database.run("DELETE FROM keys")
    assert refused(world, gateway, message) == "envelope.unknown-signer"


def test_bad_messages_do_not_disturb_good_ones_of_their_group(
    world: HubWorld, gateway: SealingGateway
) -> None:
    good = [gateway.next() for _ in range(5)]
    bad = [replace(good[0], payload=bytes([n]) * n) for n in range(20)]
    group = [message for pair in zip(bad, good * 4, strict=True) for message in pair]
    assert world.intake.take(group).new == 5


def test_kept_messages_are_bounded(world: HubWorld, gateway: SealingGateway) -> None:
    junk = [Incoming("lamppost/gw-1/up", bytes(2 * KEPT_BYTES))] * 100
    for _ in range(KEPT_MESSAGES // 100 + 2):
        world.intake.take(junk)
    row = world.database.row("SELECT count(*), max(length(head)) FROM refused")
    assert row == (KEPT_MESSAGES, KEPT_BYTES)


def test_an_alert_is_taken_like_a_batch(world: HubWorld, gateway: SealingGateway) -> None:
    gateway.epoch = ALERT_EPOCH
    message = gateway.next()
    assert message.topic == "lamppost/gw-1/alert"
    (answer,) = world.intake.take([message]).answers
    assert isinstance(gateway.read(answer), Receipt)


@pytest.mark.parametrize(("epoch", "topic"), [(EPOCH, "alert"), (ALERT_EPOCH, "up")])
def test_a_batch_of_one_stream_is_refused_on_the_topic_of_the_other(
    world: HubWorld, gateway: SealingGateway, epoch: str, topic: str
) -> None:
    gateway.epoch, gateway.topic = epoch, f"lamppost/gw-1/{topic}"
    assert refused(world, gateway, gateway.next()) == "envelope.topic"


def test_both_keys_open_while_the_hubs_key_is_rotated(
    world: HubWorld, gateway: SealingGateway
) -> None:
    old_sealed = gateway.next()
    create_encryption_key(world.folder.keys / "encryption-2.pem")
    create_signing_key(world.folder.keys / "signing-2.pem")
    world.reopen()
    renewed = world.enrol()
    assert renewed.identity.hub_encryption != gateway.identity.hub_encryption
    renewed.batches, renewed.readings = gateway.batches, gateway.readings
    taken = world.intake.take([old_sealed, renewed.next()])
    assert [type(renewed.read(answer)) for answer in taken.answers] == [Receipt, Receipt]
    (world.folder.keys / "encryption-1.pem").unlink()
    world.reopen()
    assert refused(world, renewed, gateway.again(0)) == "envelope.unknown-hub-key"


def test_nothing_is_answered_when_the_disk_refuses(
    world: HubWorld, gateway: SealingGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = gateway.next()
    full = StoreError("disk full", code="hub.store", hint="", retry=True)

    def refuse(*_: object) -> int:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "many", refuse)
        with pytest.raises(StoreError):
            world.intake.take([message])
    assert Ledger(world.database).streams() == []
    assert world.intake.take([message]).new == 1


def test_seen_moves_with_every_signed_message(world: HubWorld, gateway: SealingGateway) -> None:
    world.intake.take([gateway.next()])
    world.clock.ns += 10**9
    world.intake.take([gateway.again(0)])
    assert Registry(world.database).gateways()[0].seen == world.clock.ns


def test_the_request_of_a_gateway_called_hub_gets_no_receivers_rights() -> None:
    with pytest.raises(Exception, match="cannot be a gateway"):
        check_gateway_id("hub")


def test_the_intake_of_another_folder_has_other_keys(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path
) -> None:
    other = HubWorld.make(tmp_path / "other")
    intake = Intake(world.database, founding.load_keys(other.folder), world.clock)
    (answer,) = intake.take([gateway.next()]).answers
    with pytest.raises(Exception, match="not the hub's"):
        gateway.read(answer)
