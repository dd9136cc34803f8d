"""A gateway has a ring of readings and one of alerts, each on a thread of its own: they share no state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from lamppost.ring import Record, Ring

ROUNDS = 150
RECORDS = [Record(10, Random(n).randbytes(600) * 2 + bytes(1000)) for n in range(50)]


def use(folder: Path) -> list[bytes]:
    """Write compressible groups and read them all back, again and again."""
    ring = Ring.open(folder, 32 << 20)
    try:
        for _ in range(ROUNDS):
            ring.append(RECORDS)
            found = ring.read(ring.last - 500, 1 << 20)
            assert [stored.payload for stored in found] == [r.payload for r in RECORDS]
        return [stored.payload for stored in ring.read(-1, 64 << 20)]
    finally:
        ring.close()


def test_two_rings_on_two_threads_do_not_disturb_one_another(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(use, [tmp_path / name for name in "abcd"]))
    assert all(payloads == [r.payload for r in RECORDS] * ROUNDS for payloads in read)
