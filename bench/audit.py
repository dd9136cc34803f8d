"""Audit an exported archive of 100,000 batches of about 8 kB with a checkpoint a day: one JSON line.

python bench/audit.py [batches] [processes]
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from lamppost.envelope.compression import compress
from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.merkle import Frontier, leaf_hash
from lamppost.envelope.seal import GENESIS, Header, sign_body
from lamppost_hub.archive import ArchivedStream, Entry, Head, write_archive
from lamppost_hub.checkpoint import Checkpoint
from lamppost_hub.inspection import Order, audit_file
from lamppost_hub.note import sign_note

HUB, GATEWAY, EPOCH = "hub.bench", "gw-1", "0f" * 16
A_DAY = 1440


def payload(size: int = 8_000) -> bytes:
    """Entities that compress to about `size` bytes."""
    chance = random.Random(7)
    entities: list[dict[str, object]] = []
    while len(compress(json.dumps(entities or [0]).encode())) < size:
        value = {"type": "Property", "value": round(chance.gauss(2300, 400), 3), "unitCode": "WTT"}
        name = f"urn:ngsi-ld:Device:gw-1:meter-{len(entities) % 40:03}"
        entities += [{"id": name, "type": "Device", "activePower": value} for _ in range(8)]
        for entity in entities[-8:]:
            value = {**value, "value": round(chance.gauss(2300, 400), 3)}
            entity["activePower"] = value
    return json.dumps(entities, separators=(",", ":")).encode()


class SignedArchive:
    """A gateway's archive that is signed while it is written."""

    def __init__(self, folder: Path, batches: int) -> None:
        for name in ("gateway", "hub"):
            create_signing_key(folder / name)
        self.gateway = FileSigner.load(folder / "gateway")
        self.hub = FileSigner.load(folder / "hub")
        self.head = Head(HUB, GATEWAY, (self.gateway.public,), (self.hub.public,))
        self.batches = batches
        self.frame = compress(payload())

    def streams(self) -> Iterator[ArchivedStream]:
        # Notes come before the batches in the file, so the bodies wait in one of their own.
        log, notes, digest = Frontier(), list[bytes](), GENESIS
        with tempfile.TemporaryFile() as kept:
            for seq in range(self.batches):
                header = Header(GATEWAY, HUB, EPOCH, seq, digest, 60 * seq, 60)
                body = sign_body(self.frame, header, self.gateway)
                kept.write(len(body).to_bytes(4, "big") + body)
                log.append(leaf_hash(body))
                digest = sha256(body).digest()
                if (seq + 1) % A_DAY == 0 or seq + 1 == self.batches:
                    point = Checkpoint(HUB, GATEWAY, EPOCH, seq + 1, log.root())
                    notes.append(sign_note(point.text(), point.origin, self.hub))
            kept.seek(0)
            entries = (
                Entry(seq, seq, kept.read(int.from_bytes(kept.read(4), "big")))
                for seq in range(self.batches)
            )
            yield ArchivedStream(EPOCH, self.batches, digest, None, tuple(notes), entries)


def main(batches: int, processes: int | None) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = SignedArchive(folder, batches)
        path = folder / "archive"
        with path.open("wb") as file:
            write_archive(source, file, 0)
        order = Order((source.gateway.public,), (source.hub.public,), workers=processes)
        size, start, cpu = path.stat().st_size, time.perf_counter(), _cpu()
        report, _ = audit_file(path, order)
        seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    whole = report.broken is None and report.streams[0].verified == batches
    figure = {
        "bench": "audit",
        "what": f"audit of {batches} batches",
        "value": round(seconds, 1),
        "unit": "s",
        "cpu_s": round(cpu, 1),
        "cores": len(os.sched_getaffinity(0)),
        "body": len(source.frame),
        "json": len(payload()),
        "archive_mb": round(size / 1e6),
        "roots": report.streams[0].witnesses,
        "whole": whole,
    }
    print(json.dumps(figure))
    return 0 if whole else 1


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(words[0] if words else 100_000, words[1] if len(words) > 1 else None))
