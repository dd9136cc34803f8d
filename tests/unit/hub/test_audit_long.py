"""100,000 batches, audited by several processes; one of them edited is found and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from lamppost.envelope.compression import compress
from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.merkle import Frontier, leaf_hash
from lamppost.envelope.seal import GENESIS, Header, sign_body
from lamppost_hub.archive import ArchivedStream, Entry, Head, write_archive
from lamppost_hub.checkpoint import Checkpoint
from lamppost_hub.inspection import Order, audit_file
from lamppost_hub.note import sign_note
from unit.hub.world import EPOCH, HUB, payload

BATCHES = 100_000


@dataclass
class Bodies:
    """Signed once, then written as often as it is wanted."""

    head: Head
    bodies: list[bytes]
    notes: tuple[bytes, ...]

    @classmethod
    def sign(cls, folder: Path) -> Bodies:
        for name in ("gateway", "hub"):
            create_signing_key(folder / name)
        gateway, hub = FileSigner.load(folder / "gateway"), FileSigner.load(folder / "hub")
        log, bodies, notes, digest = Frontier(), list[bytes](), list[bytes](), GENESIS
        frame = compress(payload(1))
        for seq in range(BATCHES):
            header = Header("gw-1", HUB, EPOCH, seq, digest, 7 * seq, 7)
            bodies.append(sign_body(frame, header, gateway))
            digest = sha256(bodies[-1]).digest()
            log.append(leaf_hash(bodies[-1]))
            if (seq + 1) % 1440 == 0:
                point = Checkpoint(HUB, "gw-1", EPOCH, seq + 1, log.root())
                notes.append(sign_note(point.text(), point.origin, hub))
        head = Head(HUB, "gw-1", (gateway.public,), (hub.public,))
        return cls(head, bodies, tuple(notes))

    def streams(self) -> Iterator[ArchivedStream]:
        entries = (Entry(seq, seq, body) for seq, body in enumerate(self.bodies))
        head = sha256(self.bodies[-1]).digest()
        yield ArchivedStream(EPOCH, len(self.bodies), head, None, self.notes, entries)


@pytest.mark.long
def test_one_edited_batch_among_100_000_is_named(tmp_path: Path) -> None:
    source, order = Bodies.sign(tmp_path), Order(workers=2)

    def audited() -> tuple[int, object]:
        with (tmp_path / "archive").open("wb") as file:
            write_archive(source, file, 0)
        report, _ = audit_file(tmp_path / "archive", order)
        broken = report.broken
        return report.streams[0].batches, None if broken is None else (broken.code, broken.seq)

    assert audited() == (BATCHES, None)
    whole = source.bodies[77_777]
    source.bodies[77_777] = whole[:-1] + bytes((whole[-1] ^ 1,))
    assert audited() == (77_777, ("audit.altered", 77_777))
    source.bodies[77_777] = whole
    del source.bodies[50_000]
    found, broken = audited()
    assert (found, broken) == (50_000, ("audit.missing", 50_000))
