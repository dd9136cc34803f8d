"""Checkpoints: the note's bytes as C2SP has them, made once a day, and never against an earlier one."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.merkle import Frontier, MerkleLog, extend, leaf_hash, verify_consistency
from lamppost.envelope.public import PublicKey
from lamppost.errors import LamppostError, TrustError
from lamppost_hub import founding
from lamppost_hub.checkpoint import DAY, Checkpoint, Checkpoints, read_checkpoint
from lamppost_hub.clock import SystemClock
from lamppost_hub.daemon import Choice, Hub
from lamppost_hub.ledger import Ledger
from lamppost_hub.notary import Notary
from lamppost_hub.note import key_id, open_note, sign_note, split_note, verifier_line
from lamppost_hub.thread import DatabaseThread
from lamppost_hub.transport import Session
from unit.hub.world import EPOCH, HUB, HubWorld, SealingGateway

# The example of Go's golang.org/x/mod/sumdb/note, from which the format comes.
NEUMANN = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


def opened(world: HubWorld) -> Checkpoints:
    return founding.open_checkpoints(world.folder, world.database)


def hub_key(world: HubWorld) -> PublicKey:
    return FileSigner.load(world.folder.signing_keys()[-1]).public


def send(world: HubWorld, gateway: SealingGateway, count: int) -> None:
    assert world.intake.take([gateway.next() for _ in range(count)]).new == count


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[TrustError]]:
    with pytest.raises(TrustError) as error:
        yield error
    assert error.value.code == code


def test_a_note_of_another_implementation_is_verified() -> None:
    raw = base64.b64decode(NEUMANN)[1:]
    key = PublicKey.of(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    assert verifier_line("PeterNeumann", key) == f"PeterNeumann+c74f20a3+{NEUMANN}"
    assert open_note(NEUMANN_NOTE.encode(), "PeterNeumann", [key]).endswith("problem is.\n")
    for altered in (
        NEUMANN_NOTE.replace("answer", "Answer"),
        NEUMANN_NOTE.replace("c74", "c75").replace("JnAM=", "JnAA="),
    ):
        with pytest.raises(TrustError) as error:
            open_note(altered.encode(), "PeterNeumann", [key])
        assert error.value.code == "checkpoint.signature"


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_both_kinds_of_keys_sign_notes_that_the_library_verifies(tmp_path: Path, kind: str) -> None:
    create_signing_key(tmp_path / "key", kind)  # type: ignore[arg-type]
    signer = FileSigner.load(tmp_path / "key")
    key = serialization.load_pem_public_key(signer.public.pem().encode())
    for number in range(64):  # DER integers of every length that occurs
        note = sign_note(f"h\n{number}\nx\n", "h", signer)
        text, ((name, blob),) = split_note(note)
        assert (name, blob[:4]) == ("h", key_id("h", signer.public))
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(blob[4:], text.encode(), ec.ECDSA(hashes.SHA256()))
        else:
            assert isinstance(key, ed25519.Ed25519PublicKey)
            key.verify(blob[4:], text.encode())
        assert open_note(note, "h", [signer.public]) == text


def test_ten_thousand_damaged_notes_are_refused_with_a_code(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "key")
    signer = FileSigner.load(tmp_path / "key")
    point = Checkpoint(HUB, "gw-1", EPOCH, 7, bytes(32))
    note = sign_note(point.text(), point.origin, signer)
    assert read_checkpoint(note, HUB, [signer.public]) == point
    chance = random.Random(5)
    for _ in range(10_000):
        damaged = bytearray(note)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(damaged))
            if chance.random() < 0.5:
                damaged[at] = chance.randrange(256)
            else:
                del damaged[at : at + chance.randrange(1, 9)]
        if bytes(damaged) == note:
            continue
        with pytest.raises(LamppostError) as error:
            read_checkpoint(bytes(damaged), HUB, [signer.public])
        assert error.value.code.startswith("checkpoint.")


def test_a_log_grows_by_its_frontier_and_proves_it() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(70)]
    whole = MerkleLog(leaves)
    for m in range(71):
        old = MerkleLog(leaves[:m]).frontier()
        for n in range(m, 71):
            new, path = extend(old, leaves[m:n])
            assert (new.size, new.root()) == (n, whole.root(n))
            assert path == (whole.consistency(m, n) if 0 < m < n else [])
            if 0 < m < n:
                assert verify_consistency(m, n, old.root(), new.root(), path)
    assert extend(Frontier(), [])[0].size == 0


async def test_one_checkpoint_a_day_of_a_log_that_grew(
    world: HubWorld, gateway: SealingGateway
) -> None:
    thread = DatabaseThread()
    notary = Notary(opened(world), thread, world.clock)
    assert await notary.look() == 0
    send(world, gateway, 3)
    assert [await notary.look(), await notary.look()] == [1, 0]
    send(world, gateway, 2)
    assert await notary.look() == 0  # still the same day
    world.clock.ns += DAY
    assert [await notary.look(), await notary.look()] == [1, 0]
    world.clock.ns += DAY
    assert await notary.look() == 0  # nothing new
    thread.close()
    files = sorted((world.folder.checkpoints / "gw-1").iterdir())
    points = [read_checkpoint(path.read_bytes(), HUB, [hub_key(world)]) for path in files]
    log = MerkleLog(sealed.leaf for sealed in gateway.batches)
    assert points == [Checkpoint(HUB, "gw-1", EPOCH, n, log.root(n)) for n in (3, 5)]


def test_the_same_log_gives_the_same_note_and_a_lost_file_comes_back(
    world: HubWorld, gateway: SealingGateway
) -> None:
    send(world, gateway, 3)
    first = opened(world).make("gw-1", EPOCH, 1)
    first.path.unlink()
    world.reopen()
    again = opened(world).make("gw-1", EPOCH, 2)
    assert (again.new, again.note, again.path.read_bytes()) == (False, first.note, first.note)


def test_a_changed_leaf_ends_the_checkpoints(world: HubWorld, gateway: SealingGateway) -> None:
    send(world, gateway, 3)
    opened(world).make("gw-1", EPOCH, 1)
    send(world, gateway, 3)
    world.database.run("UPDATE entries SET leaf = ? WHERE seq = 4", bytes(32))
    with refused("checkpoint.inconsistent"):
        opened(world).make("gw-1", EPOCH, 2)
    assert len(list(world.folder.checkpoints.rglob("*.note"))) == 1


def test_a_rewritten_log_contradicts_its_last_checkpoint(
    world: HubWorld, gateway: SealingGateway
) -> None:
    """The hub replaces a batch and everything that is derived from it, but its word is out."""
    send(world, gateway, 3)
    opened(world).make("gw-1", EPOCH, 1)
    forged = MerkleLog(
        [*(s.leaf for s in gateway.batches[:2]), leaf_hash(b"forged"), leaf_hash(b"4")]
    )
    world.database.run("UPDATE streams SET frontier = ?", forged.frontier().to_bytes())
    world.database.run(
        "INSERT INTO entries (gateway, stream, seq, first, count, received, digest, leaf, path, body)"
        " SELECT gateway, stream, 3, 40, 1, 1, digest, ?, path, body FROM entries WHERE seq = 2",
        forged.leaf(3),
    )
    world.database.run("UPDATE entries SET leaf = ? WHERE seq = 2", forged.leaf(2))
    with refused("checkpoint.inconsistent"):
        opened(world).make("gw-1", EPOCH, 2)


def test_a_log_rewritten_down_to_the_stored_frontier_contradicts_the_note(
    world: HubWorld, gateway: SealingGateway
) -> None:
    """Batches, the stream and the checkpoint's own frontier are forged to fit one another; only the note is signed."""
    send(world, gateway, 3)
    made = opened(world).make("gw-1", EPOCH, 1)
    forged = MerkleLog([*(s.leaf for s in gateway.batches[:2]), leaf_hash(b"forged")])
    frontier = forged.frontier().to_bytes()
    world.database.run("UPDATE entries SET leaf = ? WHERE seq = 2", forged.leaf(2))
    world.database.run("UPDATE streams SET frontier = ?", frontier)
    world.database.run("UPDATE checkpoints SET frontier = ?", frontier)
    assert made.path.exists()  # a size that the table has too, so its file is not looked at again
    with refused("checkpoint.inconsistent") as error:
        opened(world).make("gw-1", EPOCH, 2)
    assert "for 3 batches" in str(error.value)


async def test_what_cannot_be_signed_is_said_once_and_others_are_signed(
    world: HubWorld, gateway: SealingGateway, caplog: pytest.LogCaptureFixture
) -> None:
    other = world.enrol("gw-2")
    send(world, gateway, 3)
    send(world, other, 3)
    world.database.run("UPDATE entries SET leaf = ? WHERE seq = 1 AND gateway = 1", bytes(32))
    thread = DatabaseThread()
    notary = Notary(opened(world), thread, world.clock)
    assert [await notary.look(), await notary.look()] == [1, 0]
    thread.close()
    assert len([r for r in caplog.records if "checkpoint.inconsistent" in r.message]) == 1


def test_a_new_signing_key_goes_on_from_the_notes_of_the_old(
    world: HubWorld, gateway: SealingGateway
) -> None:
    send(world, gateway, 3)
    first = opened(world).make("gw-1", EPOCH, 1)
    old = hub_key(world)
    create_signing_key(world.folder.keys / "signing-2.pem", "ed25519")
    send(world, gateway, 2)
    second = opened(world).make("gw-1", EPOCH, 2)
    assert read_checkpoint(first.note, HUB, [old]).size == 3
    assert read_checkpoint(second.note, HUB, [hub_key(world)]).size == 5
    with refused("checkpoint.unknown-key"):
        read_checkpoint(second.note, HUB, [old])


class SilentBroker:
    """Never lets anybody in."""

    async def connect(self) -> Session:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_receiver_makes_it_by_itself(world: HubWorld, gateway: SealingGateway) -> None:
    send(world, gateway, 3)
    keys = founding.load_keys(world.folder)
    hub = Hub(
        world.folder, Choice(), keys, world.database, SystemClock(), SilentBroker(), lambda: None
    )

    async def until_made() -> None:
        async with asyncio.timeout(20):
            while not list(world.folder.checkpoints.rglob("*.note")):
                await asyncio.sleep(0.01)

    await hub.run(until_made())
    assert opened(world).due(SystemClock().utc()) == []


def test_a_ledger_of_the_first_format_gets_the_table(tmp_path: Path) -> None:
    world = HubWorld.make(tmp_path)
    gateway = world.enrol()
    send(world, gateway, 2)
    world.database.run("DROP TABLE checkpoints")
    for table, column in (("cursors", "owner"), ("cursors", "lease"), ("keys", "number"),
                          ("dead_letters", "owner"), ("dead_letters", "lease"), ("keys", "sealed_for")):  # fmt: skip
        world.database.run(f"ALTER TABLE {table} DROP COLUMN {column}")
    world.database.run("PRAGMA user_version=1")
    world.reopen()
    assert opened(world).make("gw-1", EPOCH, 1).checkpoint.size == 2
    assert Ledger(world.database).streams()[0].size == 2
