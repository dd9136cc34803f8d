"""Archives that are rightly signed and still wrong: what the hub claims beside the batches, and foreign batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lamppost.envelope.keys import FileSigner
from lamppost.envelope.seal import GENESIS, Sealed
from lamppost_hub import founding
from lamppost_hub.archive import ArchivedStream, Entry, Head
from lamppost_hub.audit import Break, Witness, audit
from lamppost_hub.audit_bodies import Verifier, Workers
from lamppost_hub.ledger import Ledger
from unit.hub.world import EPOCH, HUB, LATER_EPOCH, HubWorld, SealingGateway


@dataclass
class Told:
    """An archive as its writer tells it."""

    head: Head
    told: list[ArchivedStream]

    def streams(self) -> Iterator[ArchivedStream]:
        yield from self.told


def stream(
    batches: list[Sealed], epoch: str = EPOCH, approval: bytes | None = None
) -> ArchivedStream:
    entries = iter([Entry(seq, 1, sealed.body) for seq, sealed in enumerate(batches)])
    head = batches[-1].digest if batches else GENESIS
    return ArchivedStream(epoch, len(batches), head, approval, (), entries)


@pytest.fixture
def world(tmp_path: Path) -> HubWorld:
    return HubWorld.make(tmp_path)


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


def broken(
    world: HubWorld, gateway: SealingGateway, *told: ArchivedStream, words: tuple[Witness, ...] = ()
) -> Break | None:
    hub_key = FileSigner.load(world.folder.signing_keys()[-1]).public
    keys = (gateway.identity.signer.public,)
    workers = Workers(Verifier(HUB, "gw-1", keys), 0)
    archive = Told(Head(HUB, "gw-1", keys, (hub_key,)), list(told))
    return audit(archive, workers, (hub_key,), words).broken


def chain(gateway: SealingGateway, count: int) -> list[Sealed]:
    for _ in range(count):
        gateway.next()
    return gateway.batches


def test_readings_are_covered_once(world: HubWorld, gateway: SealingGateway) -> None:
    chain(gateway, 3)
    overlap = gateway.forge(replace(gateway.header(), first=29))
    found = broken(world, gateway, stream([*gateway.batches, overlap]))
    assert found is not None
    assert (found.code, found.seq) == ("audit.readings", 3)
    assert found.what == "batch 3 begins with reading 29, which batch 2 has already"


@pytest.mark.parametrize(
    ("lie", "code", "seq"),
    [
        (lambda s: replace(s, size=3), "audit.added", 3),
        (lambda s: replace(s, size=5), "audit.missing", 4),
        (lambda s: replace(s, head=bytes(32)), "audit.chain", 3),
        (lambda s: replace(s, epoch=LATER_EPOCH), "audit.added", 0),
    ],
)
def test_a_wrong_claim_is_a_break(
    world: HubWorld, gateway: SealingGateway,
    lie: Callable[[ArchivedStream], ArchivedStream], code: str, seq: int,
) -> None:  # fmt: skip
    batches = chain(gateway, 4)
    assert broken(world, gateway, stream(batches)) is None
    found = broken(world, gateway, lie(stream(batches)))
    assert found is not None
    assert (found.code, found.seq) == (code, seq)


def test_a_later_epoch_needs_a_record_that_the_hub_signed(
    world: HubWorld, gateway: SealingGateway
) -> None:
    world.intake.take([gateway.next() for _ in range(2)])
    reset = SealingGateway(gateway.identity, LATER_EPOCH)
    world.intake.take([reset.next()])
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    (record,) = world.database.row("SELECT approval FROM streams WHERE epoch = ?", LATER_EPOCH) or (
        b"",
    )
    assert len(Ledger(world.database).streams()) == 2

    def judged(approval: bytes | None) -> Break | None:
        later = stream(reset.batches, LATER_EPOCH, approval)
        return broken(world, gateway, stream(gateway.batches), later)

    assert judged(record) is None
    for bad in (None, record[:-1] + bytes((record[-1] ^ 1,)), record[:40]):
        found = judged(bad)
        assert found is not None
        assert (found.code, found.epoch) == ("audit.reset", LATER_EPOCH)


def test_an_epoch_that_somebody_saw_must_be_there(world: HubWorld, gateway: SealingGateway) -> None:
    word = Witness(LATER_EPOCH, 9, bytes(32), "n.note")
    found = broken(world, gateway, stream(chain(gateway, 2)), words=(word,))
    assert found is not None
    assert (found.code, found.epoch) == ("audit.missing", LATER_EPOCH)
