"""Thirty days without a hub: every minute is covered, the drain is in order, live data is not late, memory is flat.

Real ring, coarse ring and outbound stage; the clock is virtual, and files are not waited for. While the backlog drains,
virtual time goes on by the processor time that the gateway's side really took and by the time that the line takes for
each batch, and live samples come in.
"""

from __future__ import annotations

import os
import resource
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from fakes.unsynced_files import UnsyncedFiles
from lamppost.alerting import Wording, seal_alerts
from lamppost.envelope.identity import Identity
from lamppost.live import Newest, behind, pack_live
from lamppost.model import Batch, Instant, Reading, Sample
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack, read
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
    line: float = 0.0  # seconds that the line takes for a batch


@dataclass
class Hub:
    """Opens every batch, keeps what the check needs, and nothing that grows with the readings."""

    post: Post
    every: float
    next: int = 0
    lost: list[tuple[int, int, str]] = field(default_factory=list)
    reduced: list[tuple[int, int, float]] = field(default_factory=list)
    covered: dict[str, list[list[int]]] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    batches: int = 0
    bytes: int = 0
    lots: int = 0
    live_bytes: int = 0
    newest: dict[str, float] = field(default_factory=dict)

    def take_live(self, batch: Batch) -> None:
        """Live values: they count nothing, and say when they were read."""
        self.lots, self.live_bytes = self.lots + 1, self.live_bytes + len(batch.message)
        for entity in orjson.loads(self.post.open(batch, "lamppost/gw-1/alert").payload):
            for attribute in entity.values():
                if isinstance(attribute, dict) and "urn:lamppost:live" in attribute:
                    assert "urn:lamppost:count" not in attribute
                    self._know(entity["id"].split(":")[4], _second(attribute["observedAt"]))

    def _know(self, device: str, second: float) -> None:
        self.newest[device] = max(second, self.newest.get(device, 0.0))

    def age(self, now: float) -> float:
        """How old the newest value of a device is at most."""
        return now - min(self.newest.values(), default=0.0)

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
            self._know(device, end - self.every)
            spans = self.covered.setdefault(device, [])
            if spans and spans[-1][1] >= begin:
                assert begin >= spans[-1][0]
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([begin, end])
        return sorted({(begin, end) for _, begin, end in windows})


@lru_cache(maxsize=1000)
def _second(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - BEGIN / S


def _bounds(attribute: dict[str, Any]) -> tuple[int, int]:
    start, end = (
        attribute[n]["value"] for n in ("urn:lamppost:windowStart", "urn:lamppost:windowEnd")
    )
    return round(_second(start)), round(_second(end))


def _number(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)


class Site:
    """The gateway's ring side, fed as fast as it goes. A folder that has its rings goes on where it was.

    Then a file `turn` says how many polls its rings have seen.
    """

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
        seen = folder / "turn"
        self.turn = int(seen.read_text()) if seen.exists() else 0
        self.alerts = Ring.open(folder / "alerts", 1 << 20, files=self.files)
        self.wording = Wording(plan)
        self.newest, self.due = Newest(), 0.0

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

    def live(self, second: float) -> Sequence[Batch]:
        """Once a window: live values, if the chain is behind."""
        pattern = self.patterns[(self.turn - 1) % len(self.patterns)]
        moment = round((self.turn - 1) * self.setting.every * S)
        for number, (start, rest) in enumerate(pattern):
            payload = start + struct.pack("<q", moment + number) + rest
            self.newest.note(read(payload + struct.pack("<f", self.turn - 1)))
        if second < self.due:
            return ()
        self.due = second + self.setting.window
        width, now = self.setting.window * S, Instant(BOOT, round(second * S))
        if behind(self.ring, self.timeline, now, width, GRACE * S):
            self.alerts.append([Record(1, r) for r in pack_live(self.newest.take(width))])
            seal_alerts(self.alerts, self.identity, self.wording, self.timeline, at_most=64)
        return self.alerts.held()

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


@dataclass
class Drain:
    """How the way back went. Seconds; `age` is that of the newest value at the hub, at most, and `step` the longest
    time between two looks.
    """

    took: float = 0.0
    age: float = 0.0
    step: float = 0.0


def back(site: Site, hub: Hub) -> Drain:
    """The hub is there again: drain while live samples come."""
    now = begin = site.setting.days * 86400.0
    drain, window = Drain(), site.setting.window
    done, took = None, 0.0
    while done is None or now < done + 3 * window:
        waiting = len(site.ring.held())
        took += _spent(lambda at=now: site.seal(at, STEP))  # type: ignore[misc]
        sealed = len(site.ring.held()) - waiting
        if done is None and not sealed and not waiting:
            done = now
        arrived: list[Batch | None] = [*site.ring.held()]
        for batch in arrived or [None]:
            began = now
            if batch is not None:
                hub.take(batch)
                took += _spent(lambda b=batch: site.ring.settle(b.epoch, b.seq))  # type: ignore[misc]
            now += took + (site.setting.line if batch is not None else 0.5)
            took = _spent(lambda at=now: site.poll_until(at))  # type: ignore[misc]
            drain.step = max(drain.step, now - began)
            for live in site.live(now):
                hub.take_live(live)
                site.alerts.settle(live.epoch, live.seq)
            drain.age = max(drain.age, hub.age(now))
    drain.took = done - begin
    return drain


def _spent(work: Callable[[], object]) -> float:
    """Processor seconds."""
    before = time.process_time()
    work()
    return time.process_time() - before


def run(folder: Path, setting: Setting, say: Callable[[str], None]) -> list[tuple[int, int, str]]:
    """Outage, drain, checks; what was lost, as (first, last, why)."""
    site = Site(folder, setting)
    started = time.process_time()
    memory = away(site, say)
    outage = time.process_time() - started
    hub = Hub(site.post, setting.every)
    drain = back(site, hub)
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
        f" drained {hub.batches} batches, {hub.bytes:,} bytes in {drain.took:.1f} s; meanwhile"
        f" {hub.lots} lots of live values, {hub.live_bytes:,} bytes;"
        f" the newest value at the hub at most {drain.age:.1f} s old"
    )
    assert max(memory[2:]) - memory[2] < 4096, "memory is flat"
    _in_time(drain, hub, setting)
    return hub.lost


def _in_time(drain: Drain, hub: Hub, setting: Setting) -> None:
    """A value is told with its window, which closes first; nothing may come more than one window later than that."""
    late = drain.age - (setting.window + GRACE + setting.every)
    assert late <= setting.window + drain.step, "live data is never more than one window late"
    assert hub.lots >= drain.took // setting.window - 1, "once a window while the backlog drains"
    assert hub.lots <= drain.took / setting.window + 2, "and not when there is none"


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
    setting = Setting(
        days=1, every=10, meters=2, size=1536 << 10, segment=64 << 10, window=300, line=60
    )
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
