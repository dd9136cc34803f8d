"""Thirty days without a hub: every minute is covered, the drain is in order, live data is not late, memory is flat.

Real ring, coarse ring and outbound stage; the clock is virtual, and files are not waited for. While the backlog drains,
virtual time goes on by the processor time that the gateway's side really took, and live samples come in.
"""

from __future__ import annotations

import os
import resource
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from fakes.unsynced_files import UnsyncedFiles
from lamppost.envelope.identity import Identity
from lamppost.model import Batch, Instant, Reading, Sample
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.reduction import Reduction
from lamppost.ring import Record, Ring
from lamppost.ring.coarse import CoarseRing
from lamppost.timeline import Timeline
from unit.gateway.test_outbound import Post
from unit.gateway.test_timeline import Hands

S = 10**9
BEGIN = 1_800_000_000 * S  # a multiple of 15 minutes
BOOT = "0a8a0a51-5c5e-4b9e-9a3c-0d9b7d1f2a10"
FINE, COARSE, GRACE = 60, 900, 2
MAX_HELD, STEP = 64, 4  # as the daemon
QUANTITIES = (
    "voltage",
    "current",
    "power.active",
    "power.apparent",
    "power.reactive",
    "power.factor",
)
POINTS = [f"{q}.l{i}" for q in QUANTITIES for i in (1, 2, 3)] + ["frequency", "energy.import"]


@dataclass
class Setting:
    """A site and how long its hub is away."""

    days: float
    every: float
    meters: int = 20
    size: int = 64 << 20
    share: float = 0.4
    segment: int | None = None
    window: int = FINE


@dataclass
class Hub:
    """Opens every batch, keeps what the check needs, and nothing that grows with the readings."""

    post: Post
    next: int = 0
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    reduced: list[tuple[int, int, float]] = field(default_factory=list)
    covered: dict[str, list[list[int]]] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    late: float = 0.0
    batches: int = 0
    bytes: int = 0

    def take(self, batch: Batch) -> list[tuple[int, int]]:
        """Account for a batch; the windows in it, as seconds since the start."""
        assert batch.span.first == self.next, "batches follow one another"
        self.next = batch.span.last + 1
        self.batches, self.bytes = self.batches + 1, self.bytes + len(batch.message)
        readings, windows = 0, set()
        for entity in orjson.loads(self.post.open(batch).payload):
            if entity["type"] == "urn:lamppost:Gap":
                gap = entity["urn:lamppost:gap"]["value"]
                self.lost.append((gap["first"], gap["last"], gap["why"]))
                readings += gap["last"] - gap["first"] + 1
            elif entity["type"] == "urn:lamppost:Reduced":
                range_ = entity["urn:lamppost:reduced"]["value"]
                self.reduced.append((range_["first"], range_["last"], range_["seconds"]))
            for attribute in entity.values():
                if isinstance(attribute, dict) and "urn:lamppost:count" in attribute:
                    readings += _number(attribute["urn:lamppost:count"]["value"])
                    windows.add((entity["id"].split(":")[4], *_bounds(attribute)))
                    if "urn:lamppost:delta" in attribute:
                        device = entity["id"].split(":")[4]
                        delta = attribute["urn:lamppost:delta"]["value"]
                        self.counted[device] = self.counted.get(device, 0.0) + delta
        assert readings == batch.span.count, "every number of the span is in a window or in a gap"
        for device, begin, end in sorted(windows):
            spans = self.covered.setdefault(device, [])
            if spans and spans[-1][1] >= begin:
                assert begin >= spans[-1][0]
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([begin, end])
        return sorted({(begin, end) for _, begin, end in windows})


_MOMENTS: dict[str, int] = {}


def _bounds(attribute: dict[str, Any]) -> tuple[int, int]:
    from datetime import datetime

    found = []
    for name in ("urn:lamppost:windowStart", "urn:lamppost:windowEnd"):
        text = attribute[name]["value"]
        if text not in _MOMENTS:
            if len(_MOMENTS) > 1000:
                _MOMENTS.clear()
            _MOMENTS[text] = round(datetime.fromisoformat(text).timestamp() - BEGIN / S)
        found.append(_MOMENTS[text])
    return found[0], found[1]


def _number(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)


class Site:
    """The gateway's ring side, fed as fast as it goes."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.setting = setting
        self.post = Post(folder)
        self.post.ring.close()
        (folder / "boots.json").unlink()
        self.timeline = Timeline(folder / "boots.json", send_unsynced=False)
        self.timeline.learn(Hands(boot=BOOT, boottime=0, utc_ns=BEGIN, in_sync=True))
        self.files = UnsyncedFiles()
        coarse = round(setting.size * setting.share)
        fine, size = setting.size - coarse, setting.segment
        self.ring = Ring.open(folder / "fine", fine, files=self.files, segment=size)
        self.coarse = CoarseRing.open(folder / "coarse", coarse, files=self.files, segment=size)
        names = [f"meter-{m:02}" for m in range(setting.meters)]
        points = tuple((p, "kWh" if p == "energy.import" else "", _kind(p)) for p in POINTS)
        plan = SitePlan(
            "gw-1", None, devices=tuple(DevicePlan(n, "x", points=points) for n in names)
        )
        kinds = {(n, p): _kind(p) for n in names for p in POINTS}
        reduction = Reduction(self.ring, self.coarse, self.timeline, kinds, width=COARSE * S)
        self.outbound = Outbound(
            plan, kinds, self.timeline, window=setting.window, grace=GRACE, reduction=reduction
        )
        dice = Random(1)
        self.patterns = [[_payload(n, dice) for n in names] for _ in range(61)]
        self.turn = 0

    @property
    def identity(self) -> Identity:
        return self.post.identity

    def poll_until(self, second: float) -> None:
        """One durable group for every poll that is due."""
        every = self.setting.every
        while self.turn * every < second:
            at = self.turn * every
            stand, moment = struct.pack("<f", self.turn), round(at * S)
            pattern = self.patterns[self.turn % len(self.patterns)]
            self.ring.append(
                [
                    Record(20, start + struct.pack("<q", moment + number) + rest + stand)
                    for number, (start, rest) in enumerate(pattern)
                ]
            )
            self.turn += 1

    def seal(self, second: float, at_most: int) -> int:
        room = min(at_most, MAX_HELD - len(self.ring.held()))
        now = Instant(BOOT, round(second * S))
        return self.outbound.seal_due(self.ring, self.identity, now, at_most=room) if room else 0


def _kind(point: str) -> str:
    return "counter" if point == "energy.import" else "gauge"


def _payload(device: str, dice: Random) -> tuple[bytes, bytes]:
    """A sample of 20 values as it is packed, without its time and its counter."""
    values = struct.unpack("20f", struct.pack("20f", *[230 + dice.gauss(0, 3) for _ in range(20)]))
    packed = pack(Sample(device, Instant(BOOT, 0), tuple(map(Reading, POINTS, values))))
    return packed[:4], packed[12:-4]


def _resident() -> int:
    """Kilobytes of memory at this moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def away(site: Site, say: Callable[[str], None]) -> list[int]:
    """The outage, in steps of a minute; resident memory at every twentieth of it."""
    end = round(site.setting.days * 86400)
    step = max(site.setting.window, round(site.setting.every))
    memory, mark = [], end // 20
    for second in range(step, end + 1, step):
        site.poll_until(second)
        site.seal(second, MAX_HELD)
        if second // mark > (second - step) // mark:
            memory.append(_resident())
            say(
                f"day {second / 86400:6.2f}: {memory[-1]} kB resident, {site.coarse.total:,} reduced"
            )
    return memory


def back(site: Site, hub: Hub) -> tuple[float, float]:
    """The hub is there again: drain while live samples come. Seconds until it was done, and how late live data was."""
    now = begin = site.setting.days * 86400.0
    late, window = 0.0, site.setting.window
    done = None
    while done is None or now < done + 3 * window:
        waiting, before = len(site.ring.held()), time.process_time()
        sealed = site.seal(now, STEP)
        spent = time.process_time() - before
        arrived = []
        for batch in site.ring.held():
            arrived += hub.take(batch)
            before = time.process_time()
            site.ring.settle(batch.epoch, batch.seq)
            spent += time.process_time() - before
        before = time.process_time()
        site.poll_until(now)
        spent += time.process_time() - before
        now += spent if sealed or waiting else 0.5
        late = max([late, *(now - end - GRACE for start, end in arrived if start >= begin)])
        if done is None and not sealed and not waiting:
            done = now
    return done - begin, late


def run(folder: Path, setting: Setting, say: Callable[[str], None]) -> list[tuple[int, int, str]]:
    """Outage, drain, checks; what was lost, as (first, last, why)."""
    site = Site(folder, setting)
    started = time.process_time()
    memory = away(site, say)
    outage = time.process_time() - started
    hub = Hub(site.post)
    drained, late = back(site, hub)
    after = _resident()
    end = round(setting.days * 86400)
    readings = 20 * setting.meters
    for device in site.outbound._plan.devices:
        _covered(hub.covered[device.name], hub.lost, end, setting, readings)
    total = hub.next // readings - 1
    if not hub.lost:
        assert all(abs(counted - total) < 1e-3 * total for counted in hub.counted.values())
    assert [r[0] for r in hub.reduced] == sorted(r[0] for r in hub.reduced)
    kept = (end - hub.reduced[0][0] // readings * setting.every) / 86400 if hub.reduced else 0.0
    say(
        f"{setting.days:g} days at {setting.meters} x 20 points every {setting.every:g} s:"
        f" {site.turn * readings:,} readings, {outage:.0f} s of processor time;"
        f" coarse windows reach {kept:.1f} days back, lost {hub.lost};"
        f" memory {memory[2]} -> {memory[-1]} kB, after the drain {after} kB;"
        f" drained {hub.batches} batches, {hub.bytes:,} bytes in {drained:.1f} s,"
        f" live data at most {late:.1f} s late"
    )
    assert max(memory[2:]) - memory[2] < 4096, "memory is flat"
    assert late <= drained + setting.window, "live data waits for the backlog, and no longer"
    return hub.lost


def _covered(
    spans: list[list[int]],
    lost: list[tuple[int, int, str]],
    end: int,
    setting: Setting,
    readings: int,
) -> None:
    """Windows and gaps leave no minute of the outage out."""
    known = sorted(
        [tuple(span) for span in spans]
        + [
            (int(a // readings * setting.every), int((b + 1) // readings * setting.every))
            for a, b, _ in lost
        ]
    )
    assert known[0][0] == 0
    assert known[-1][1] >= end
    assert all(after[0] <= before[1] for before, after in pairwise(known)), known


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def aloud(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    return aloud


def test_days_of_outage_in_a_small_ring(tmp_path: Path) -> None:
    """Two meters and a ring of 1.5 MiB."""
    setting = Setting(days=1, every=10, meters=2, size=1536 << 10, segment=64 << 10, window=300)
    run(tmp_path, setting, lambda line: None)


def test_what_does_not_fit_is_a_signed_gap(tmp_path: Path) -> None:
    setting = Setting(
        days=5, every=30, meters=2, size=1536 << 10, share=0.17, segment=64 << 10, window=600
    )
    lost = run(tmp_path, setting, lambda line: None)
    assert [why for _, _, why in lost] == ["evicted"]


@pytest.mark.long
def test_thirty_days_at_ten_seconds(tmp_path: Path, say: Callable[[str], None]) -> None:
    assert run(tmp_path, Setting(days=30, every=10), say) == []


@pytest.mark.long
def test_three_days_at_one_second(tmp_path: Path, say: Callable[[str], None]) -> None:
    assert run(tmp_path, Setting(days=3, every=1), say) == []


@pytest.mark.long
@pytest.mark.skipif(
    "LAMPPOST_LONG_OUTAGE" not in os.environ,
    reason="1,036,800,000 readings take half an hour: set LAMPPOST_LONG_OUTAGE to run it",
)
def test_thirty_days_at_one_second(tmp_path: Path, say: Callable[[str], None]) -> None:
    assert run(tmp_path, Setting(days=30, every=1), say) == []
