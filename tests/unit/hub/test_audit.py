"""The audit finds every kind of tampering with the archive and names the first batch at which it shows."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2
import pytest

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.seal import Sealed
from lamppost.errors import TrustError
from lamppost_hub import founding
from lamppost_hub.archive import FileArchive, write_archive
from lamppost_hub.audit import Break, Report
from lamppost_hub.cli import main
from lamppost_hub.inspection import Order, audit_file, audit_folder, hub_archive
from unit.hub.world import EPOCH, LATER_EPOCH, START, HubWorld, SealingGateway, payload

DAY = 86_400 * 10**9
HOW_TO = Path(__file__).resolve().parents[3] / "docs/how-to/check-a-proof.md"
ORDER = Order(workers=0)


@pytest.fixture
def world(tmp_path: Path) -> HubWorld:
    return HubWorld.make(tmp_path)


@pytest.fixture
def gateway(world: HubWorld) -> SealingGateway:
    return world.enrol()


def send(world: HubWorld, gateway: SealingGateway, count: int) -> None:
    assert world.intake.take([gateway.next() for _ in range(count)]).new == count


def sign(world: HubWorld, epoch: str = EPOCH) -> Path:
    points = founding.open_checkpoints(world.folder, world.database)
    return points.make("gw-1", epoch, world.clock.utc()).path


def filled(world: HubWorld, gateway: SealingGateway) -> None:
    """20 batches; checkpoints of 8 and of 16."""
    for count, signed in ((8, True), (8, True), (4, False)):
        send(world, gateway, count)
        if signed:
            sign(world)


def look(world: HubWorld, order: Order = ORDER) -> Report:
    return audit_folder(world.folder, "gw-1", order)[0]


def broken(world: HubWorld, order: Order = ORDER) -> Break:
    found = look(world, order).broken
    assert found is not None
    return found


def export(world: HubWorld, path: Path) -> Path:
    with hub_archive(world.folder, "gw-1") as archive, path.open("wb") as file:
        write_archive(archive, file, START)
    return path


def test_a_whole_archive_has_no_break(world: HubWorld, gateway: SealingGateway) -> None:
    filled(world, gateway)
    report = look(world)
    assert report.broken is None
    (stream,) = report.streams
    assert (stream.batches, stream.verified, stream.readings, stream.lost) == (20, 20, 200, 0)
    assert (stream.witnesses, stream.covered) == (2, 16)


def test_processes_find_the_same(world: HubWorld, gateway: SealingGateway) -> None:
    filled(world, gateway)
    assert look(world, replace(ORDER, workers=2)) == look(world)
    world.database.run("UPDATE entries SET body = zeroblob(9) WHERE seq = 11")
    assert broken(world, replace(ORDER, workers=2)) == broken(world)


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :]


Tamper = Callable[[HubWorld, SealingGateway], object]


def body_of(seq: int) -> str:
    return f"(SELECT body FROM entries WHERE seq = {seq})"


def put(world: HubWorld, seq: int, sealed: Sealed) -> None:
    world.database.run(
        "UPDATE entries SET body = ?, digest = ?, leaf = ? WHERE seq = ?",
        sealed.body, sealed.digest, sealed.leaf, seq,
    )  # fmt: skip


def swap(world: HubWorld, gateway: SealingGateway) -> None:
    put(world, 5, gateway.batches[6])
    put(world, 6, gateway.batches[5])


def swap_far(world: HubWorld, gateway: SealingGateway) -> None:
    put(world, 5, gateway.batches[17])
    put(world, 17, gateway.batches[5])


def remove_and_close_up(world: HubWorld, gateway: SealingGateway) -> None:
    """The hub removes a batch, moves the others and lets the ledger claim one less."""
    world.database.run("DELETE FROM entries WHERE seq = 5")
    world.database.run("UPDATE entries SET seq = -seq WHERE seq > 5")
    world.database.run("UPDATE entries SET seq = -seq - 1 WHERE seq < 0")
    (stored,) = world.database.row("SELECT frontier FROM streams") or (b"",)
    world.database.run("UPDATE streams SET frontier = ?", bytes(7) + b"\x13" + stored[8:])


def insert(seq: int, original: int) -> Tamper:
    def run(world: HubWorld, _: SealingGateway) -> None:
        world.database.run("UPDATE entries SET seq = -seq WHERE seq >= ?", seq)
        world.database.run("UPDATE entries SET seq = -seq + 1 WHERE seq < 0")
        world.database.run(
            "INSERT INTO entries (gateway, stream, seq, first, count, received, digest, leaf, path, body)"
            " SELECT gateway, stream, ?, first, count, received, digest, leaf, path, body FROM entries WHERE seq = ?",
            seq,
            original,
        )

    return run


def edit(world: HubWorld, gateway: SealingGateway) -> None:
    body = flipped(gateway.batches[7].body, 200)
    world.database.run("UPDATE entries SET body = ? WHERE seq = 7", body)


def clone(world: HubWorld, gateway: SealingGateway) -> None:
    """Another batch 9 that the gateway's key signed, with the right predecessor."""
    twin = SealingGateway(gateway.identity, batches=gateway.batches[:9], readings=90)
    twin.next(content=payload(999))
    put(world, 9, twin.batches[9])


def cut(world: HubWorld, gateway: SealingGateway) -> None:
    world.database.run("DELETE FROM entries WHERE seq > 17")


@pytest.mark.parametrize(
    ("tamper", "code", "seq", "words"),
    [
        (lambda w, g: w.database.run("DELETE FROM entries WHERE seq = 5"), "audit.missing", 5,
         "batch 5 is missing: after batch 4 stands batch 6"),
        (lambda w, g: w.database.run("DELETE FROM entries WHERE seq < 3"), "audit.missing", 0,
         "batches 0 to 2 are missing: at the start stands batch 3"),
        (remove_and_close_up, "audit.missing", 5, "batch 5 is missing: after batch 4 stands batch 6"),
        (swap, "audit.order", 5, "batch 6 stands in place 5, batch 5 in place 6"),
        (swap_far, "audit.order", 5, "batch 17 stands in place 5, batch 5 in place 17"),
        (edit, "audit.altered", 7, "batch 7 is refused: envelope."),
        (insert(10, 4), "audit.added", 10, "after batch 9 stands batch 4 again"),
        (insert(20, 19), "audit.added", 20, "after batch 19 stands batch 19 again"),
        (clone, "audit.chain", 10, "batch 10 follows a batch with digest "),
        (cut, "audit.missing", 18, "the archive ends after batch 17, the ledger claims 20 batches"),
    ],
)  # fmt: skip
def test_tampering_is_named(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path,
    tamper: Tamper, code: str, seq: int, words: str,
) -> None:  # fmt: skip
    filled(world, gateway)
    tamper(world, gateway)
    found = broken(world)
    assert (found.code, found.seq, found.epoch) == (code, seq, EPOCH)
    assert found.what.startswith(words)
    exported, _ = audit_file(export(world, tmp_path / "a"), ORDER)
    assert exported.broken == found


def test_every_bit_of_a_body_counts(world: HubWorld, gateway: SealingGateway) -> None:
    filled(world, gateway)
    whole = gateway.batches[3].body
    for at in range(0, len(whole), 7):
        world.database.run("UPDATE entries SET body = ? WHERE seq = 3", flipped(whole, at))
        try:
            found = broken(world)
        except TrustError as error:  # the key id: nobody's key
            assert error.code == "audit.unknown-key"
        else:
            assert (found.code, found.seq) == ("audit.altered", 3)


def rewrite_after_receipts(world: HubWorld, gateway: SealingGateway, keep: int) -> None:
    """The hub drops all from `keep` on, with everything that it derives, notes and table too."""
    world.database.run("DELETE FROM checkpoints")
    world.database.run("DELETE FROM entries")
    world.database.run("DELETE FROM streams")
    world.intake.take([gateway.again(seq) for seq in range(keep)])
    shutil.rmtree(world.folder.checkpoints)


def test_a_hub_that_drops_after_its_receipt_is_found_by_its_own_word(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path
) -> None:
    """Attack 18: the folder is perfectly rewritten, but a note or a receipt is in other hands."""
    filled(world, gateway)
    note, proof = tmp_path / "n.note", tmp_path / "p.json"
    shutil.copy(sign(world), note)
    assert run("audit", world.folder.root, "--gateway", "gw-1", "--proof", 173, "--out", proof) == 0
    rewrite_after_receipts(world, gateway, 15)
    assert look(world).broken is None
    found = broken(world, replace(ORDER, against=(note,)))
    assert (found.code, found.seq) == ("audit.missing", 15)
    assert found.what == "batches 15 to 19 are missing: n.note proves 20, 15 are here"
    found = broken(world, replace(ORDER, against=(proof,)))
    assert found.what == "batches 15 to 17 are missing: p.json proves 18, 15 are here"


def test_a_hub_that_replaces_after_its_receipt_is_found_by_its_own_word(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path
) -> None:
    """Attack 18, with a gateway's key in the hub's hands: a whole other history, rightly signed and chained."""
    filled(world, gateway)
    proof = tmp_path / "p.json"
    assert run("audit", world.folder.root, "--gateway", "gw-1", "--proof", 173, "--out", proof) == 0
    twin = SealingGateway(gateway.identity, batches=gateway.batches[:12], readings=120)
    for number in range(8):
        twin.next(content=payload(1000 + number))
    rewrite_after_receipts(world, twin, 20)
    assert look(world).broken is None
    found = broken(world, replace(ORDER, against=(proof,)))
    assert (found.code, found.seq) == ("audit.root", 17)
    assert "the first 18 batches have root" in found.what


def gap(first: int, last: int) -> bytes:
    entity = {
        "id": f"urn:ngsi-ld:Gap:gw-1:{first}-{last}",
        "type": "urn:lamppost:Gap",
        "urn:lamppost:gap": {
            "type": "Property",
            "value": {"first": first, "last": last, "why": "x"},
        },
    }
    return json.dumps([entity]).encode()


def test_lost_readings_must_be_in_a_signed_gap(world: HubWorld, gateway: SealingGateway) -> None:
    world.intake.take([gateway.next(), gateway.next(skip=5, content=gap(10, 14))])
    (stream,) = look(world).streams
    assert (stream.readings, stream.lost) == (20, 5)
    # The gap may lie inside the batch's own range, which is what a gateway of ours does.
    world.intake.take([gateway.next(count=10, content=gap(26, 29))])
    (stream,) = look(world).streams
    assert (stream.readings, stream.lost) == (26, 9)
    world.intake.take([gateway.next(skip=5, content=gap(35, 38))])
    found = broken(world)
    assert (found.code, found.seq) == ("audit.readings", 3)
    assert found.what.startswith("readings 39 to 39 before batch 3 are in no batch")


def test_readings_left_as_long_windows_are_counted_and_not_lost(
    world: HubWorld, gateway: SealingGateway
) -> None:
    from lamppost.ngsild.reduced import reduced_entities

    windows = reduced_entities("gw-1", "e", [(0, 9, 8, 900 * 10**9)])
    world.intake.take([gateway.next(count=10, content=json.dumps(windows).encode())])
    world.intake.take([gateway.next(content=b'[{"urn:lamppost:reduced": "urn:lamppost:Reduced"}]')])
    (stream,) = look(world).streams
    assert (stream.reduced, stream.lost) == (8, 0)


def test_epochs_hang_together_by_their_reset_records(
    world: HubWorld, gateway: SealingGateway
) -> None:
    filled(world, gateway)
    third = SealingGateway(gateway.identity, "2" * 32)
    second = SealingGateway(gateway.identity, LATER_EPOCH)
    for reset in (third, second):  # approved in the other order than seen
        world.intake.take([reset.next()])
    for reset in (second, third):
        founding.approve_epoch(world.folder, world.database, "gw-1", reset.epoch, world.clock)
        world.intake.take([reset.again(0), reset.next()])
    report = look(world)
    assert report.broken is None
    assert [s.epoch[0] for s in report.streams] == ["0", "1", "2"]
    world.database.run("DELETE FROM entries WHERE seq = 19")
    world.database.run(
        "UPDATE streams SET frontier = ? WHERE epoch = ?", bytes(7) + b"\x13" + bytes(96), EPOCH
    )
    world.database.run(
        "UPDATE streams SET head = ? WHERE epoch = ?", gateway.batches[18].digest, EPOCH
    )
    found = broken(world)
    assert (found.code, found.epoch) == ("audit.reset", LATER_EPOCH)
    assert f"names {EPOCH} of 20 batches" in found.what
    assert f"the archive has {EPOCH} of 19 batches" in found.what


def test_a_gateway_with_a_new_key_stays_one_archive(
    world: HubWorld, gateway: SealingGateway
) -> None:
    filled(world, gateway)
    again = world.enrol(replace=True, folder="new-card")
    again.epoch = LATER_EPOCH
    first = again.next()
    world.intake.take([first])
    founding.approve_epoch(world.folder, world.database, "gw-1", LATER_EPOCH, world.clock)
    world.intake.take([first])
    report = look(world)
    assert report.broken is None
    assert [s.batches for s in report.streams] == [20, 1]
    only_new = replace(ORDER, keys=(again.identity.signer.public,))
    with pytest.raises(TrustError) as error:
        look(world, only_new)
    assert error.value.code == "audit.unknown-key"


def test_a_range_limits_what_is_verified_and_nothing_else(
    world: HubWorld, gateway: SealingGateway
) -> None:
    for _ in range(4):
        send(world, gateway, 5)
        sign(world)
        world.clock.ns += DAY
    order = replace(ORDER, since=START + DAY, until=START + 3 * DAY)
    (stream,) = look(world, order).streams
    assert (stream.batches, stream.verified, stream.readings, stream.covered) == (20, 10, 100, 20)
    world.database.run(
        "UPDATE entries SET body = ? WHERE seq = 2", flipped(gateway.batches[2].body, 99)
    )
    found = broken(world, order)  # not verified, but not unseen
    assert (found.code, found.seq) == ("audit.root", 4)
    world.database.run("DELETE FROM entries WHERE seq = 1")
    assert broken(world, order).what.startswith("batch 1 is missing")


def test_an_auditor_needs_the_file_and_the_keys_only(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path
) -> None:
    filled(world, gateway)
    path = export(world, tmp_path / "a")
    hub_key = FileSigner.load(world.folder.signing_keys()[-1]).public
    shutil.rmtree(world.folder.root)
    order = replace(ORDER, keys=(gateway.identity.signer.public,), hub_keys=(hub_key,))
    report, head = audit_file(path, order)
    assert report.broken is None
    assert (report.streams[0].batches, head.gateway) == (20, "gw-1")
    stranger = create_signing_key(tmp_path / "stranger")
    for changed, code in (
        (replace(order, keys=(stranger,)), "audit.unknown-key"),
        (replace(order, hub_keys=(stranger,)), "checkpoint.unknown-key"),
    ):
        with pytest.raises(TrustError) as error:
            audit_file(path, changed)
        assert error.value.code == code


def test_a_damaged_file_is_refused_whole(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path
) -> None:
    filled(world, gateway)
    whole = export(world, tmp_path / "a").read_bytes()

    def read(content: bytes) -> int:
        return sum(len(list(s.entries)) for s in FileArchive(BytesIO(content)).streams())

    assert read(whole) == 20
    for bad in (
        b"", whole[:-1], whole + b"\0", whole[: len(whole) // 2], b"\x5b" + b"\xff" * 40,
        b"\x5a\xff\xff\xff\xff" + whole, whole[1:], b"\x41\xa0", cbor2.dumps(cbor2.dumps({"kind": 1})),
    ):  # fmt: skip
        with pytest.raises(TrustError) as error:
            read(bad)
        assert error.value.code == "archive.malformed"


def run(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_ends_with_a_verdict(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(world, gateway)
    hub, where = world.folder.root, ("--gateway", "gw-1")
    for words, made in (((), 1), ((), 0), (("--all",), 0)):
        assert run("checkpoint", hub, *words) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"OK {made} checkpoints made"
    assert run("audit", hub, *where) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "OK gw-1: 20 batches, no break"
    assert run("export-archive", hub, *where, "--out", tmp_path / "a") == 0
    assert run("audit", "--archive", tmp_path / "a") == 0
    assert "compare them" in capsys.readouterr().out
    world.database.run("DELETE FROM entries WHERE seq = 5")
    assert run("audit", hub, *where) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"PROBLEM audit.missing: gw-1, epoch {EPOCH}: batch 5 is missing")
    assert run("audit", hub, *where, "--json") == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["ok"], found["break"]["seq"]) == (
        "lamppost.hub-audit/1",
        False,
        5,
    )
    assert run("audit", hub, "--gateway", "gw-9") == 8
    assert run("audit", hub) == 2
    (tmp_path / "bad").write_bytes(b"no archive")
    assert run("audit", "--archive", tmp_path / "bad") == 8
    assert run("audit", hub, *where, "--proof", 5000, "--out", tmp_path / "p") == 8
    assert run("audit", hub, *where, "--against", tmp_path / "bad") == 8


def snippet() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 30
    assert "lamppost" not in code
    return str(code)


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_another_party_checks_a_proof_with_the_lines_of_the_document(
    world: HubWorld, gateway: SealingGateway, tmp_path: Path, kind: str
) -> None:
    if kind == "ed25519":
        create_signing_key(world.folder.keys / "signing-2.pem", "ed25519")
    filled(world, gateway)
    script, proof = tmp_path / "check.py", tmp_path / "proof.json"
    script.write_text(snippet())

    def check() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", str(script), str(proof)]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)

    where = ("--gateway", "gw-1", "--proof", 137, "--out", proof)
    assert run("audit", world.folder.root, *where) == 0
    done = check()
    assert done.stdout.startswith("OK gw-1 reading 137 batch 13 root "), done.stderr
    whole = json.loads(proof.read_text())
    other = json.loads(json.dumps(whole))
    for part, altered in (
        ("reading", 140),
        ("body", base64.b64encode(flipped(base64.b64decode(whole["body"]), -80)).decode()),
        ("body", base64.b64encode(gateway.batches[12].body).decode()),
        ("receipt", base64.b64encode(flipped(base64.b64decode(whole["receipt"]), -80)).decode()),
        ("hub_key", whole["gateway_key"]),
    ):
        proof.write_text(json.dumps({**other, part: altered}))
        assert check().returncode == 1, part
