"""Writes a ring file fixture of the present format: python tests/ring_files/make.py tests/ring_files/v1

Run once per released format version, never again: what is committed is what that release wrote.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.crash_disk import CrashDisk, no_fault
from lamppost.model import Batch, Span
from lamppost.ring import Record, Ring

SEGMENT = 4096


def main(target: Path) -> None:
    disk, dice = CrashDisk(seed=1), Random(1)
    ring = Ring.open(Path("ring"), 10 * SEGMENT, files=disk, segment=SEGMENT, memory=2048)

    def append(groups: int) -> None:
        for _ in range(groups):
            ring.append([Record(2, b"reading " + dice.randbytes(40)) for _ in range(4)])

    def hold(last: int) -> None:
        head = ring.head()
        first, seq = (head.span.last + 1, head.seq + 1) if head else (0, 0)
        digest, leaf = dice.randbytes(32), dice.randbytes(32)
        ring.hold(
            Batch(ring.epoch, seq, Span(first, last), digest, leaf, dice.randbytes(300), b"s")
        )

    append(10)
    hold(39)
    hold(79)
    ring.settle(ring.epoch, 0)
    ring.append([Record(1, b"urgent", urgent=True)])
    append(100)  # wraps: the urgent record is saved, ordinary ones are evicted
    disk.fault = lambda act, *_: errno.EROFS if act == "write" else 0
    append(30)  # more than memory takes
    disk.fault = no_fault
    ring.append([Record(3, b"compressible " * 40)])
    ring.close()
    written = dict(disk.medium)
    ring = Ring.open(Path("ring"), 0, files=disk)
    known = {
        "epoch": ring.epoch,
        "last": ring.last,
        "settled_through": ring.settled_through,
        "held": [[b.seq, b.span.first, b.span.last, b.message.hex()] for b in ring.held()],
        "stored": {s.span.first: s.payload.hex() for s in ring.read(79, 10**9)},
        "gaps": [[g.span.first, g.span.last, g.why] for g in ring.gaps(79)],
    }
    target.mkdir(parents=True)
    for name, content in written.items():
        (target / name).write_bytes(content)
    (target / "expected.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
