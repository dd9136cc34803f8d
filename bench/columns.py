"""Would columns save card bytes? Blocks of one-second groups packed in several ways: bytes, processor time, card bytes.

python bench/columns.py

20 meters x 20 points a second, as `store.py` makes them (noise, the worst case) and as slow walks in the steps of a
meter's resolution. A block is durable by itself in all of them but `delta`, which needs the block before it. What
reaches the card is counted in pages of 4 KiB, as ext4 writes them back: a block of s bytes at any place touches
1 + (s - 1) / 4096 of them on average.
"""

from __future__ import annotations

import json
import platform
import random
import struct
import time
from collections.abc import Callable, Iterator

import zstandard

from lamppost.model import Instant, Reading, Sample
from lamppost.packing import columns, pack
from lamppost.ring.format import BLOCK_HEAD, Kind, frame, pack_records
from lamppost.ring.records import Record
from store import BOOT, POINTS, samples  # type: ignore[import-not-found]

PAGE, SECONDS, METERS = 4096, 300, 20
Group = list[bytes]
_level1 = zstandard.ZstdCompressor(level=1)
_level3 = zstandard.ZstdCompressor(level=3)


def walks() -> Iterator[Group]:
    """Values that move slowly, in steps of their last digit."""
    dice = random.Random(2)
    now = [[230 + dice.random() * 10 for _ in POINTS] for _ in range(METERS)]
    for turn in range(SECONDS):
        group = []
        for meter, values in enumerate(now):
            for i in range(20):
                values[i] += dice.choice((-0.1, 0.0, 0.0, 0.1))
            exact = struct.unpack("20f", struct.pack("20f", *[round(v, 1) for v in values]))
            at = Instant(BOOT, turn * 10**9 + meter * 10**6)
            group.append(pack(Sample(f"meter-{meter:02}", at, tuple(map(Reading, POINTS, exact)))))
        yield group


def noise() -> Iterator[Group]:
    """Values without any order."""
    dice = random.Random(1)
    for turn in range(SECONDS):
        yield [pack(sample) for sample in samples(turn, METERS, dice)]


def today(group: Group) -> bytes:
    """One payload behind the other, then zstd level 1 where that saves an eighth."""
    return frame(Kind.RECORDS, pack_records([Record(20, p) for p in group]), 0, 399, 20).body


def _heads_and_values(group: Group) -> tuple[bytes, bytes]:
    """What differs little between samples, and the float32 values of all, point by point."""
    found = [columns(p) for p in group]
    heads = b"".join(p[: len(p) - 80] for p in group)
    turned = zip(*[c.values for c in found], strict=True)
    return heads, b"".join(struct.pack(f"<{len(group)}f", *column) for column in turned)


def _shuffled(values: bytes) -> bytes:
    return b"".join(values[i::4] for i in range(4))


def by_point(group: Group) -> bytes:
    """Values of a point side by side, zstd 1."""
    heads, values = _heads_and_values(group)
    return _level1.compress(heads + values)


def by_byte(group: Group) -> bytes:
    """And their bytes side by side: exponents, then mantissas."""
    heads, values = _heads_and_values(group)
    return _level1.compress(heads + _shuffled(values))


def by_byte_3(group: Group) -> bytes:
    """The same at zstd 3."""
    heads, values = _heads_and_values(group)
    return _level3.compress(heads + _shuffled(values))


class Delta:
    """Bits that changed since the block before, which must be there to read this one."""

    def __init__(self) -> None:
        self._before = bytes(80 * METERS)

    def __call__(self, group: Group) -> bytes:
        heads, values = _heads_and_values(group)
        changed = bytes(a ^ b for a, b in zip(values, self._before, strict=True))
        self._before = values
        return _level1.compress(heads + _shuffled(changed))


def without_names(group: Group) -> bytes:
    """Columns whose headings stand elsewhere in the segment: what naming devices and points once would leave."""
    times = b"".join(p[4:12] for p in group)
    _, values = _heads_and_values(group)
    return _level1.compress(times + _shuffled(values))


def main() -> None:
    ways: dict[str, Callable[[], Callable[[Group], bytes]]] = {
        "today": lambda: today,
        "by-point": lambda: by_point,
        "by-byte": lambda: by_byte,
        "by-byte-zstd3": lambda: by_byte_3,
        "delta": Delta,
        "without-names": lambda: without_names,
    }
    for what, source in (("noise", noise), ("walks", walks)):
        groups = list(source())
        first = 0.0
        for name, make in ways.items():
            way = make()
            start = time.process_time()
            sizes = [len(way(group)) + BLOCK_HEAD for group in groups]
            spent = (time.process_time() - start) / (400 * SECONDS) * 1e6
            mean = sum(sizes) / len(sizes)
            card = (1 + (mean - 1) / PAGE) * PAGE / 400
            first = first or card
            line = {
                "bench": "columns",
                "what": f"columns.{what}.{name}",
                "value": round(mean / 400, 3),
                "unit": "B/reading in the block",
                "card": round(card, 2),
                "ratio": round(card / first, 3),
                "against": "today",
                "cpu_us": round(spent, 3),
                "machine": platform.machine(),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
