"""The ledger's states: what is new, the same again, missing, contradicting, out of chain, of another epoch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamppost.envelope import codec, sign1
from lamppost.envelope.merkle import MerkleLog
from lamppost.envelope.receipt import Statement
from lamppost.errors import TrustError
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.database import Value
from lamppost_hub.intake import Intake
from lamppost_hub.ledger import Ledger
from lamppost_hub.registry import Registry
from lamppost_hub.schema import SCHEMA
from lamppost_hub.sqlite import SqliteDatabase
from unit.hub.world import EPOCH, LATER_EPOCH, HubWorld, SealingGateway


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


def only(world: HubWorld, gateway: SealingGateway, sealed: object) -> Receipt | Statement:
    """Give one message to the intake and read the one answer."""
    (answer,) = world.intake.take([sealed]).answers  # type: ignore[list-item]
    return gateway.read(answer)


def test_every_batch_gets_a_receipt_for_the_log_that_ends_with_it(
    world: HubWorld, gateway: SealingGateway
) -> None:
    log = MerkleLog()
    for seq in range(20):
        receipt = only(world, gateway, gateway.next())
        log.append(gateway.batches[seq].leaf)
        assert receipt == Receipt(EPOCH, seq, seq + 1, log.root())
    (stream,) = Ledger(world.database).streams("gw-1")
    assert (stream.size, stream.readings, stream.missing, stream.state) == (20, 200, 0, "open")
    assert stream.bytes == sum(len(sealed.message) for sealed in gateway.batches)


def test_the_same_bytes_again_get_the_same_receipt_and_are_booked_once(
    world: HubWorld, gateway: SealingGateway
) -> None:
    first = [only(world, gateway, gateway.next()) for _ in range(5)]
    world.reopen()
    again = [only(world, gateway, gateway.again(seq)) for seq in range(5)]
    assert again == first
    (stream,) = Ledger(world.database).streams("gw-1")
    assert (stream.size, stream.readings) == (5, 50)


def test_a_batch_too_early_asks_for_the_missing_one_once_a_group(
    world: HubWorld, gateway: SealingGateway
) -> None:
    sent = [gateway.next() for _ in range(5)]
    world.intake.take(sent[:1])
    (answer,) = world.intake.take(sent[2:]).answers
    assert gateway.read(answer) == Statement("resend", "ledger.missing", EPOCH, 2, 1)
    assert world.intake.take(sent[1:]).new == 4


def test_the_order_within_a_group_does_not_matter(world: HubWorld, gateway: SealingGateway) -> None:
    sent = [gateway.next() for _ in range(8)]
    random.Random(3).shuffle(sent)
    assert world.intake.take(sent).new == 8


def test_a_first_batch_that_is_not_number_0_opens_no_stream(
    world: HubWorld, gateway: SealingGateway
) -> None:
    gateway.next()
    assert only(world, gateway, gateway.next()) == Statement(
        "resend", "ledger.missing", EPOCH, 1, 0
    )
    assert Ledger(world.database).streams() == []


def test_another_batch_under_a_used_number_quarantines_the_stream(
    world: HubWorld, gateway: SealingGateway
) -> None:
    only(world, gateway, gateway.next())
    clone = gateway.clone()
    receipt = only(world, gateway, gateway.next())
    refused = only(world, clone, clone.next(count=7))
    assert refused == Statement("refused", "ledger.equivocation", EPOCH, 1)
    # From here on nothing new of either, but what is held is still confirmed.
    assert only(world, gateway, gateway.next()) == Statement(
        "refused", "ledger.quarantined", EPOCH, 2
    )
    assert only(world, gateway, gateway.again(1)) == receipt
    assert Registry(world.database).gateways()[0].state == "quarantined"
    (body,) = world.database.row("SELECT body FROM evidence") or (b"",)
    assert body == clone.batches[1].body


def test_evidence_is_bounded(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    for count in range(30):
        world.intake.take([gateway.sent(gateway.forge(replace(gateway.header(count), seq=0)))])
    assert world.database.row("SELECT count(*) FROM evidence") == (16,)


def test_a_batch_with_another_predecessor_is_refused(
    world: HubWorld, gateway: SealingGateway
) -> None:
    only(world, gateway, gateway.next())
    forged = gateway.forge(replace(gateway.header(), prev=bytes(32)))
    said = only(world, gateway, gateway.sent(forged))
    assert said == Statement("refused", "ledger.chain-broken", EPOCH, 1)
    assert isinstance(only(world, gateway, gateway.next()), Receipt)


def test_a_first_batch_with_a_predecessor_is_refused(
    world: HubWorld, gateway: SealingGateway
) -> None:
    forged = gateway.forge(replace(gateway.header(), prev=b"x" * 32))
    said = only(world, gateway, gateway.sent(forged))
    assert said == Statement("refused", "ledger.chain-broken", EPOCH, 0)
    assert isinstance(only(world, gateway, gateway.next()), Receipt)


def test_readings_that_were_numbered_before_are_refused(
    world: HubWorld, gateway: SealingGateway
) -> None:
    only(world, gateway, gateway.next())
    forged = gateway.forge(replace(gateway.header(), first=9))
    said = only(world, gateway, gateway.sent(forged))
    assert said == Statement("refused", "ledger.reading-overlap", EPOCH, 1)


def test_missing_reading_numbers_are_counted(world: HubWorld, gateway: SealingGateway) -> None:
    for skip in (0, 3, 0, 4):
        only(world, gateway, gateway.next(skip=skip))
    (stream,) = Ledger(world.database).streams("gw-1")
    assert (stream.readings, stream.missing, stream.next_reading) == (40, 7, 47)


def test_a_new_epoch_waits_for_the_operator(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    reset = SealingGateway(gateway.identity, LATER_EPOCH)
    first = reset.next()
    assert only(world, reset, first) == Statement("refused", "ledger.epoch-pending", LATER_EPOCH, 0)
    assert isinstance(
        only(world, gateway, gateway.next()), Receipt
    )  # the old one goes on meanwhile
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    assert isinstance(only(world, reset, first), Receipt)
    assert only(world, gateway, gateway.next()) == Statement(
        "refused", "ledger.epoch-closed", EPOCH, 2
    )
    assert isinstance(only(world, gateway, gateway.again(0)), Receipt)


def test_the_reset_record_names_the_last_head(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    reset = SealingGateway(gateway.identity, LATER_EPOCH)
    only(world, reset, reset.next())
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    (record,) = world.database.row("SELECT approval FROM streams WHERE epoch = ?", LATER_EPOCH) or (
        b"",
    )
    signed = sign1.read_sign1(record)
    signed.verify(gateway.identity.hub_signing[signed.kid])
    assert signed.payload is not None
    content = codec.decode(signed.payload)
    assert isinstance(content, dict)
    assert content["before"] == [{"epoch": EPOCH, "size": 1, "head": gateway.batches[0].digest}]


def test_an_approved_epoch_lifts_the_quarantine(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    only(world, gateway, gateway.sent(gateway.forge(replace(gateway.header(1), seq=0))))
    reset = SealingGateway(gateway.identity, LATER_EPOCH)
    only(world, reset, reset.next())
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    assert isinstance(only(world, reset, reset.again(0)), Receipt)
    assert Registry(world.database).gateways()[0].state == "active"


def test_only_a_pending_epoch_can_be_approved(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    for epoch in (EPOCH, LATER_EPOCH):
        with pytest.raises(TrustError) as refused:
            founding.approve_epoch(world.folder, world.database, "gw-1", epoch, world.clock)
        assert refused.value.code == "ledger.no-such-epoch"


def test_pending_epochs_are_bounded(world: HubWorld, gateway: SealingGateway) -> None:
    only(world, gateway, gateway.next())
    for number in range(20):
        reset = SealingGateway(gateway.identity, f"a{number:031x}")
        only(world, reset, reset.next())
    states = [stream.state for stream in Ledger(world.database).streams("gw-1")]
    assert states.count("epoch-pending") == 8
    assert states.count("open") == 1


class Killed(BaseException):
    """The process ends here."""


class DyingDatabase(SqliteDatabase):
    """Dies before its n-th statement, or never while `left` is 0."""

    left = 0

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def run(self, sql: str, *values: Value) -> int:
        self._step()
        return super().run(sql, *values)

    def insert(self, sql: str, *values: Value) -> int:
        self._step()
        return super().insert(sql, *values)

    def many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        for row in rows:
            self.run(sql, *row)


def dying(world: HubWorld, statements: int) -> None:
    """Open the hub again, as after a kill, with a database that dies in turn."""
    world.database.close()
    database = DyingDatabase.open(world.folder.database, SCHEMA)
    database.left = statements
    world.database = database
    world.intake = Intake(database, founding.load_keys(world.folder), world.clock)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_a_kill_between_any_two_statements_loses_nothing_and_books_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Groups with repeats and re-ordering; the process dies at a random SQL statement, again and again."""
    choose = random.Random(seed)
    world = HubWorld.make(tmp_path_factory.mktemp("hub"))
    gateway = world.enrol()
    sent = [gateway.next(choose.randint(0, 5), skip=choose.choice((0, 0, 2))) for _ in range(12)]
    proved: dict[int, Receipt] = {}
    while len(proved) < len(sent):
        dying(world, choose.randint(0, 40))
        open_ones = [message for seq, message in enumerate(sent) if seq not in proved]
        try:
            for _ in range(3):
                group = choose.choices(open_ones[:4] + sent[:2], k=choose.randint(1, 6))
                answers = world.intake.take(group).answers
                if choose.random() < 0.3:
                    break  # killed after the commit: nobody hears the answers
                for said in map(gateway.read, answers):
                    if isinstance(said, Receipt):
                        assert proved.setdefault(said.seq, said) == said
        except Killed:
            continue
    (stream,) = Ledger(world.database).streams("gw-1")
    assert stream.size == len(sent)
    assert stream.readings + stream.missing == gateway.readings
    bodies = [row[0] for row in world.database.rows("SELECT body FROM entries ORDER BY seq")]
    assert bodies == [sealed.body for sealed in gateway.batches]
    world.database.close()
