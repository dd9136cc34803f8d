"""The ring against SQLite and thingsboard-gateway's store: bytes on the block device (P9), CPU a reading and open time
(P10). One JSON line a figure.

python bench/store.py [--folder DIR] [--seconds 60] [--only p9|p10]

P9 needs root: each store gets an ext4 of its own on a loop device and 400 readings a second in groups of one second;
what counts is what /sys/block says was written, journal included. All stores run at the same time. thingsboard-gateway
is installed into an environment of its own, which is kept in .lamppost/peers.
P10 runs on such an ext4 too where it is root, else in the temporary folder, and each line says on what; rounds of the
stores alternate. `--folder` is where the images of the loop devices lie.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lamppost.model import Batch, Instant, Reading, Sample, Span
from lamppost.packing import pack
from lamppost.ring import Record, Ring

BOOT = "0a8a0a51-5c5e-4b9e-9a3c-0d9b7d1f2a10"
QUANTITIES = (
    "voltage",
    "current",
    "power.active",
    "power.apparent",
    "power.reactive",
    "power.factor",
)
POINTS = [f"{q}.l{i}" for q in QUANTITIES for i in (1, 2, 3)] + ["frequency", "energy.import"]
BATCH_BYTES = 6_000  # a sealed minute of 400 points, measured


def say(what: str, value: float, unit: str, **more: object) -> None:
    line = {"bench": "store", "what": what, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps({**line, "machine": platform.machine(), "python": platform.python_version()}))
    sys.stdout.flush()


def samples(turn: int, meters: int, dice: random.Random) -> list[Sample]:
    """One second of meters with 20 points, float32 as their registers hold them."""
    raw = struct.pack(f"{20 * meters}f", *[230 + dice.gauss(0, 3) for _ in range(20 * meters)])
    values = struct.unpack(f"{20 * meters}f", raw)
    return [
        Sample(
            f"meter-{m:02}",
            Instant(BOOT, turn * 1_000_000_000 + m * 1_000_000),
            tuple(map(Reading, POINTS, values[20 * m : 20 * m + 20])),
        )
        for m in range(meters)
    ]


class Engine(Protocol):
    def put(self, group: list[Sample]) -> None: ...
    def acknowledge(self) -> None: ...
    def close(self) -> None: ...


class RingEngine:
    """Samples packed, appended; acknowledged by a held batch and its receipt."""

    def __init__(self, folder: Path) -> None:
        self.ring = Ring.open(folder / "ring", 64 << 20)
        self.dice = random.Random(3)

    def put(self, group: list[Sample]) -> None:
        self.ring.append([Record(len(s.readings), pack(s)) for s in group])

    def acknowledge(self) -> None:
        head = self.ring.head()
        span = Span(head.span.last + 1 if head else 0, self.ring.last)
        seq = head.seq + 1 if head else 0
        message = self.dice.randbytes(BATCH_BYTES * span.count // 24_000 + 300)
        self.ring.hold(Batch(self.ring.epoch, seq, span, bytes(32), bytes(32), message, bytes(64)))
        self.ring.settle(self.ring.epoch, seq)

    def close(self) -> None:
        self.ring.close()


class SqliteEngine:
    """One row a reading, WAL, synchronous=FULL; acknowledged by deleting."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "r.db", isolation_level=None)
        self.db.execute("pragma journal_mode=WAL")
        self.db.execute("pragma synchronous=FULL")
        self.db.execute("create table r(id integer primary key, ts int, pt int, v real, q int)")

    def put(self, group: list[Sample]) -> None:
        rows = [
            (s.at.ns, 20 * m + i, r.value, 0)
            for m, s in enumerate(group)
            for i, r in enumerate(s.readings)
        ]
        self.db.execute("begin")
        self.db.executemany("insert into r(ts,pt,v,q) values(?,?,?,?)", rows)
        self.db.execute("commit")

    def acknowledge(self) -> None:
        self.db.execute("delete from r where id <= (select max(id) from r)")

    def close(self) -> None:
        self.db.close()


ENGINES: dict[str, Callable[[Path], Engine]] = {"ring": RingEngine, "sqlite-full": SqliteEngine}


PEERS = Path(__file__).parent.parent / ".lamppost" / "peers"
THINGSBOARD = "thingsboard-gateway==3.8.5"


def thingsboard() -> Path | None:
    """A Python that has thingsboard-gateway, installed at first use; None where the package index cannot be reached."""
    home = PEERS / THINGSBOARD
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        order = [str(python), "-m", "pip", "install", "-q", THINGSBOARD]
        if subprocess.run(order, check=False).returncode != 0:
            print(f"{THINGSBOARD} cannot be installed; measured without it", file=sys.stderr)
            return None
        (home / "installed").touch()
    return python


# -- P9 --------------------------------------------------------------------------------------------


def paced(name: str, folder: Path, groups: int, every: int) -> None:
    """A process of its own: one group of 400 readings a second, an acknowledgement every `every` groups."""
    engine, dice = ENGINES[name](folder), random.Random(1)
    engine.put(samples(0, 20, dice))  # files exist and are filled before the count begins
    engine.acknowledge()
    os.sync()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    for turn in range(1, groups + 1):
        engine.put(samples(turn, 20, dice))
        if turn % every == 0:
            engine.acknowledge()
        time.sleep(max(0.0, start + turn - time.monotonic()))
    print("done", flush=True)
    sys.stdin.readline()
    engine.close()


@contextmanager
def loop_disk(folder: Path, name: str) -> Iterator[tuple[Path, str]]:
    """A fresh ext4 on a loop device: (mount point, device name)."""
    image, mount = folder / f"{name}.img", folder / name
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(1 << 30)
    found = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    )
    device = found.stdout.strip()
    try:
        now = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-E", now, device], check=True, capture_output=True
        )
        subprocess.run(["mount", device, mount], check=True)
        try:
            yield mount, Path(device).name
        finally:
            subprocess.run(["umount", mount], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
        image.unlink()


def counters(device: str) -> tuple[int, int]:
    """Bytes written and flushes so far."""
    fields = Path(f"/sys/block/{device}/stat").read_text().split()
    return int(fields[6]) * 512, int(fields[15])


def p9(folder: Path, seconds: int) -> None:
    cases = [("ring", 60), ("ring", 1), ("sqlite-full", 60), ("sqlite-full", 1)]
    peer = thingsboard()
    if peer is not None:
        cases += [("thingsboard-sqlite", 60), ("thingsboard-sqlite", 1)]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        opened = [loop_disk(Path(scratch), f"{name}-{every}") for name, every in cases]
        disks = [disk.__enter__() for disk in opened]
        try:
            p9_run(cases, disks, seconds, peer)
        finally:
            for disk in opened:
                disk.__exit__(None, None, None)


def p9_run(
    cases: list[tuple[str, int]], disks: list[tuple[Path, str]], seconds: int, peer: Path | None
) -> None:
    players = []
    for (name, every), (mount, _) in zip(cases, disks, strict=True):
        order = [sys.executable, __file__, "--play", name, str(mount), str(seconds), str(every)]
        if name.startswith("thingsboard"):
            program = str(Path(__file__).with_name("store_thingsboard.py"))
            order = [str(peer), program, str(mount), str(seconds), str(every)]
        players.append(
            subprocess.Popen(order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    for player in players:
        expect(player, "ready")
    for mount, _ in disks:
        subprocess.run(["sync", "-f", mount], check=True)
    before = [counters(device) for _, device in disks]
    for player in players:
        tell(player)
    for player in players:
        expect(player, "done")
    for mount, _ in disks:
        subprocess.run(["sync", "-f", mount], check=True)
    after = [counters(device) for _, device in disks]
    for player in players:
        tell(player)
        player.wait()
    peers = {}
    for (name, every), b, a in zip(cases, before, after, strict=True):
        peers[name, every] = (a[0] - b[0]) / (400 * seconds)
    for (name, every), b, a in zip(cases, before, after, strict=True):
        value = peers[name, every]
        ratio = round(value / peers["sqlite-full", every], 3)
        flushes = round((a[1] - b[1]) / seconds, 2)
        say(f"p9.{name}.ack-{every}s", value, "B/reading", flushes_a_group=flushes, ratio=ratio,
            against="sqlite-full", goal=60)  # fmt: skip


def expect(player: subprocess.Popen[str], word: str) -> None:
    assert player.stdout is not None
    heard = player.stdout.readline().strip()
    if heard != word:
        raise SystemExit(f"a store process said {heard!r} instead of {word!r}")


def tell(player: subprocess.Popen[str]) -> None:
    assert player.stdin is not None
    player.stdin.write("\n")
    player.stdin.flush()


# -- P10 -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where P10 is measured, and in what words."""

    folder: Path
    disk: str


@contextmanager
def place_of(folder: Path) -> Iterator[Place]:
    """An ext4 of its own on a loop device where that can be had, else a folder on whatever is there."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if os.geteuid() != 0:
            yield Place(Path(scratch), f"a folder in {folder}, no loop device without root")
            return
        with loop_disk(Path(scratch), "p10") as (mount, _):
            yield Place(mount, "ext4 on a loop device")


class ThingsBoard:
    """The peer's store in its own process; a round costs what that process says."""

    name = "thingsboard-sqlite"

    def __init__(self, peer: Path, folder: Path, groups: int) -> None:
        program = str(Path(__file__).with_name("store_thingsboard.py"))
        order = [str(peer), program, str(folder), "cpu", str(groups)]
        self._process = subprocess.Popen(
            order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        expect(self._process, "ready")

    def round(self) -> float:
        """CPU seconds."""
        tell(self._process)
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def p10(place: Place, rounds: int = 7, groups: int = 60) -> None:
    dice = random.Random(2)
    work = [samples(turn, 50, dice) for turn in range(groups)]
    engines = {}
    for name, make in ENGINES.items():
        (place.folder / name).mkdir()
        engines[name] = make(place.folder / name)
    peer = thingsboard()
    other = ThingsBoard(peer, place.folder, groups) if peer is not None else None
    costs: dict[str, list[float]] = {name: [] for name in ENGINES}
    if other is not None:
        costs[other.name] = []
    for _ in range(rounds):
        for name, engine in engines.items():
            start = time.process_time()
            for group in work:
                engine.put(group)
            costs[name].append(time.process_time() - start)
        if other is not None:
            costs[other.name].append(other.round())
    for engine in engines.values():
        engine.close()
    if other is not None:
        other.close()
    cost = {
        name: statistics.median(values) / (groups * 1000) * 1e6 for name, values in costs.items()
    }
    for name, value in cost.items():
        say(f"p10.cpu.{name}", value, "us/reading", group=1000, disk=place.disk,
            ratio=round(value / cost["sqlite-full"], 3), against="sqlite-full", goal=0.4)  # fmt: skip
    start = time.process_time()
    for group in work:
        for sample in group:
            pack(sample)
    alone = (time.process_time() - start) / (groups * 1000) * 1e6
    say("p10.cpu.pack-alone", alone, "us/reading")
    open_times(place.folder)


def open_times(folder: Path) -> None:
    """Open a ring of 100 thousand and of 10 million readings, caches warm and cold; then verify the large one."""
    dice = random.Random(4)
    group = [Record(20, pack(s)) for turn in range(20) for s in samples(turn, 50, dice)]
    for readings in (100_000, 10_000_000):
        place = folder / f"ring-{readings}"
        ring = Ring.open(place, 512 << 20)
        while ring.stats().appended < readings:
            ring.append(group)
        ring.close()
        for state in ("warm", "cold"):
            value, state = statistics.median(open_once(place, state) for _ in range(5)), state
            say(f"p10.open.{state}.{readings}", value * 1e3, "ms", goal=100)
    ring = Ring.open(place, 0)
    start = time.perf_counter()
    found = ring.verify()
    passed = time.perf_counter() - start
    ring.close()
    if found.damaged or found.readings < 10_000_000:
        raise SystemExit(f"verify found {found}")
    say("p10.verify", found.bytes_read / passed / 1e6, "MB/s", readings=found.readings, goal=500)
    shutil.rmtree(place)


def open_once(place: Path, state: str) -> float:
    if state == "cold":
        os.sync()
        with suppress(OSError):  # not root: warm again
            Path("/proc/sys/vm/drop_caches").write_text("3")
    start = time.perf_counter()
    ring = Ring.open(place, 0)
    passed = time.perf_counter() - start
    ring.close()
    return passed


def main() -> None:
    if sys.argv[1:2] == ["--play"]:
        name, folder, groups, every = sys.argv[2:6]
        paced(name, Path(folder), int(groups), int(every))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", choices=("p9", "p10"))
    chosen = parser.parse_args()
    if chosen.only != "p10":
        if os.geteuid() == 0:
            p9(chosen.folder, chosen.seconds)
        else:
            print("p9 skipped: loop devices need root", file=sys.stderr)
    if chosen.only != "p9":
        with place_of(chosen.folder) as place:
            p10(place)


if __name__ == "__main__":
    main()
