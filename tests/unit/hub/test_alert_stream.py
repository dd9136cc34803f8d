"""The alert stream at the hub: a chain and a log of its own, approved, queued and audited apart from the readings'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lamppost.envelope.receipt import Statement
from lamppost.envelope.seal import ALERT, is_alert
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.express import AlertQueue, express_name
from lamppost_hub.fleet import look as look_at_fleet
from lamppost_hub.forward import Archive, Forwarder
from lamppost_hub.inspection import Order, audit_folder
from lamppost_hub.ledger import Ledger
from lamppost_hub.proof import make_proof
from lamppost_hub.queue import Queue
from lamppost_hub.registry import Registry
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.transport import Incoming
from unit.hub.test_forward import ListSink, never
from unit.hub.world import ALERT_EPOCH, EPOCH, HUB, LATER_EPOCH, HubWorld, SealingGateway

SECOND_ALERTS = ALERT + "b" * 32


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


@pytest.fixture
def alerts(gateway: SealingGateway) -> SealingGateway:
    """The same gateway, sealing alerts."""
    return SealingGateway(gateway.identity, ALERT_EPOCH)


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread()
    yield thread
    thread.close()


def answers(
    world: HubWorld, gateway: SealingGateway, *messages: Incoming
) -> list[Receipt | Statement]:
    return [gateway.read(answer) for answer in world.intake.take(messages).answers]


def states(world: HubWorld) -> dict[str, str]:
    return {stream.epoch: stream.state for stream in Ledger(world.database).streams("gw-1")}


def test_alerts_open_a_stream_beside_the_readings_without_an_approval(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway
) -> None:
    answers(world, gateway, gateway.next(), gateway.next())
    first, second = answers(world, alerts, alerts.next(1), alerts.next(1))
    assert isinstance(first, Receipt) and isinstance(second, Receipt)
    assert (second.epoch, second.log_size) == (ALERT_EPOCH, 2)
    assert states(world) == {EPOCH: "open", ALERT_EPOCH: "open"}


def test_a_second_alert_epoch_waits_and_its_approval_leaves_the_readings_alone(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway
) -> None:
    answers(world, gateway, gateway.next())
    answers(world, alerts, alerts.next(1))
    renewed = SealingGateway(gateway.identity, SECOND_ALERTS)
    first = renewed.next(1)
    (said,) = answers(world, renewed, first)
    assert isinstance(said, Statement) and said.code == "ledger.epoch-pending"
    founding.approve_epoch(world.folder, world.database, "gw-1", SECOND_ALERTS, world.clock)
    assert states(world) == {EPOCH: "open", ALERT_EPOCH: "closed", SECOND_ALERTS: "open"}
    (receipt,) = answers(world, renewed, first)
    assert isinstance(receipt, Receipt)
    (going_on,) = answers(world, gateway, gateway.next())
    assert isinstance(going_on, Receipt)


def test_an_audit_covers_both_streams_and_their_resets(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway
) -> None:
    answers(world, gateway, gateway.next())
    answers(world, alerts, alerts.next(1))
    for epoch in (LATER_EPOCH, SECOND_ALERTS):
        renewed = SealingGateway(gateway.identity, epoch)
        first = renewed.next(1)
        answers(world, renewed, first)
        founding.approve_epoch(world.folder, world.database, "gw-1", epoch, world.clock)
        answers(world, renewed, first)
    report, _ = audit_folder(world.folder, "gw-1", Order(workers=0))
    assert report.broken is None
    assert {s.epoch for s in report.streams} == {EPOCH, ALERT_EPOCH, LATER_EPOCH, SECOND_ALERTS}
    world.database.run(
        "DELETE FROM entries WHERE stream = (SELECT number FROM streams WHERE epoch = ?)",
        SECOND_ALERTS,
    )
    report, _ = audit_folder(world.folder, "gw-1", Order(workers=0))
    assert report.broken is not None
    assert (report.broken.code, report.broken.epoch) == ("audit.missing", SECOND_ALERTS)


def test_two_clones_are_found_in_the_alert_stream_too(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway
) -> None:
    answers(world, gateway, gateway.next())
    clone = alerts.clone()
    answers(world, alerts, alerts.next(1))
    (said,) = answers(world, clone, clone.next(1))
    assert isinstance(said, Statement) and said.code == "ledger.equivocation"
    assert states(world) == {EPOCH: "open", ALERT_EPOCH: "quarantined"}
    renewed = SealingGateway(gateway.identity, LATER_EPOCH)
    answers(world, renewed, renewed.next())
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    (row,) = [g for g in Registry(world.database).gateways() if g.id == "gw-1"]
    assert row.state == "quarantined"  # the other stream's clone is still about


def test_what_cannot_be_read_is_answered_with_the_name_of_its_stream(
    world: HubWorld, gateway: SealingGateway
) -> None:
    (said,) = answers(world, gateway, Incoming("lamppost/gw-1/alert", b"junk"))
    assert isinstance(said, Statement)
    assert (is_alert(said.epoch), said.seq) == (True, -1)
    (said,) = answers(world, gateway, Incoming("lamppost/gw-1/up", b"junk"))
    assert isinstance(said, Statement) and said.epoch == ""


def test_the_proof_of_a_reading_is_never_that_of_an_alert(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway
) -> None:
    answers(world, gateway, gateway.next(10))
    answers(world, alerts, alerts.next(10))
    signer = founding.load_keys(world.folder).signer
    found = make_proof(world.database, HUB, signer, "gw-1", 5)
    assert found["epoch"] == EPOCH
    found = make_proof(world.database, HUB, signer, "gw-1", 5, ALERT_EPOCH)
    assert found["epoch"] == ALERT_EPOCH


class Lanes:
    """A sink with both forwarders, as the daemon makes them."""

    def __init__(self, world: HubWorld, thread: DatabaseThread) -> None:
        self.sink = ListSink()
        archive = Archive(HUB, Registry(world.database).signer_of)
        self.queue, self.express_queue = Queue(world.database), AlertQueue(world.database)
        self.readings = Forwarder(
            "list", self.sink, self.queue, archive, thread, world.clock, skip=is_alert
        )
        self.express = Forwarder(
            express_name("list"), self.sink, self.express_queue, archive, thread, world.clock
        )

    def epochs(self) -> list[str]:
        return [delivery.epoch for delivery in self.sink.deliveries]


async def test_alerts_pass_a_backlog_of_readings_and_each_arrives_once(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway, thread: DatabaseThread
) -> None:
    lanes = Lanes(world, thread)
    world.intake.take([gateway.next() for _ in range(100)])
    world.intake.take([alerts.next(1)])
    world.intake.take([gateway.next() for _ in range(10)])
    assert lanes.express_queue.backlog(express_name("list")) == 1
    assert await lanes.express.round()
    assert lanes.epochs() == [ALERT_EPOCH]
    assert not await lanes.express.round()
    while await lanes.readings.round():
        pass
    world.intake.take([alerts.next(1)])
    while await lanes.readings.round():  # a new head that is not for it is passed over, once
        pass
    assert lanes.epochs() == [ALERT_EPOCH] + [EPOCH] * 110
    assert await lanes.express.round()
    assert lanes.epochs()[-1] == ALERT_EPOCH
    assert [d.seq for d in lanes.sink.deliveries if is_alert(d.epoch)] == [0, 1]
    assert lanes.queue.backlog("list") == 0
    assert lanes.express_queue.backlog(express_name("list")) == 0


async def test_a_sink_that_refuses_an_alert_for_good_keeps_it_as_a_dead_letter(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway, thread: DatabaseThread
) -> None:
    lanes = Lanes(world, thread)
    lanes.sink.fail = {("gw-1", 0): [never()]}
    world.intake.take([alerts.next(1)])
    assert await lanes.express.round()
    (letter,) = lanes.queue.dead_letters()
    assert (letter.sink, letter.epoch) == (express_name("list"), ALERT_EPOCH)
    lanes.queue.retry(None)
    assert await lanes.express.round()
    assert lanes.epochs() == [ALERT_EPOCH]
    assert lanes.queue.dead_letters() == []


async def test_the_fleet_counts_alerts_apart(
    world: HubWorld, gateway: SealingGateway, alerts: SealingGateway, thread: DatabaseThread
) -> None:
    world.intake.take([gateway.next(10), alerts.next(3)])
    lanes = Lanes(world, thread)
    await lanes.readings.round()
    fleet = look_at_fleet(world.database, world.folder)
    (row,) = fleet.gateways
    assert (row["batches"], row["readings"], row["alerts"]) == (2, 10, 3)
    assert fleet.queues == {"list": 0, express_name("list"): 1}


def test_the_second_connection_of_a_receiver_may_read_alerts_and_heartbeats_only(
    world: HubWorld, tmp_path: Path
) -> None:
    from lamppost_hub.broker_files import write_broker_files

    acl = write_broker_files(world.folder, 8883, "127.0.0.1").parent / "acl"
    parts = acl.read_text().split("user ")
    (mine,) = [part for part in parts if part.startswith("hub-101\n")]
    assert mine.split("\n")[1:4] == [
        "topic read lamppost/+/alert",
        "topic read lamppost/+/state",
        "topic write lamppost/+/down",
    ]
    assert "lamppost/+/up" not in mine
