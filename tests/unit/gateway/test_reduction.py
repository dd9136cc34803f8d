"""A long outage: what the ring gives up comes out as long windows, in order, every reading accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from fakes.crash_disk import CrashDisk
from lamppost.aggregate import Carry, Timed, reduce_windows
from lamppost.model import Instant, Quality, Reading, Sample, Severity, TimeQuality
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.reduction import Reduction
from lamppost.ring import Record, Ring
from lamppost.ring.coarse import CoarseRing
from lamppost.timeline import Timeline
from lamppost_hub.delivery import Delivery, check
from unit.gateway.test_outbound import BEGIN, Post, S, counts
from unit.gateway.test_timeline import Hands

POINTS = (
    ("voltage.l1", "V", "gauge"),
    ("voltage.l2", "V", "gauge"),
    ("voltage.l3", "V", "gauge"),
    ("power.active", "W", "gauge"),
    ("energy.import", "kWh", "counter"),
)
NAMES = tuple(name for name, _, _ in POINTS)
HOME = "flat-7"
PLAN = SitePlan(
    "gw-1", None, devices=(DevicePlan("meter", "x", points=POINTS), DevicePlan(HOME, "x", points=POINTS))
)  # fmt: skip
KINDS = {(d.name, name): kind for d in PLAN.devices for name, _, kind in d.points}
EVERY = 10  # seconds
FINE, COARSE = 300, 900
HOUR = 3600
SEGMENT = 32 * 1024


class Outage(Post):
    """A gateway with both rings, small ones, whose hub is away until `drain`."""

    def __init__(
        self,
        folder: Path,
        *,
        synced: bool = True,
        personal: bool = False,
        coarse: int = 128,
        segment: int = SEGMENT,
    ) -> None:
        super().__init__(folder)
        self.segment = segment
        self.personal, self.coarse_size = personal, coarse * 4096
        if not synced:
            (folder / "boots.json").unlink()
        self.timeline = Timeline(folder / "boots.json", send_unsynced=False)
        self.timeline.learn(Hands(boottime=0, utc_ns=BEGIN, in_sync=synced))
        self.batches: list[list[dict[str, Any]]] = []
        self.spans: list[tuple[int, int]] = []
        self.next = 0
        self.disks = CrashDisk(seed=1), CrashDisk(seed=2)
        self.ring.close()
        self._open()

    def _open(self) -> None:
        fine, coarse = self.disks
        self.ring = Ring.open(Path("/fine"), 10 * SEGMENT, files=fine, segment=self.segment)
        self.coarse = CoarseRing.open(Path("/coarse"), self.coarse_size, files=coarse, segment=4096)
        hidden = Personal({HOME: "p-1"}, HOUR * S, KINDS) if self.personal else Personal()
        longer = dict.fromkeys(hidden.names, hidden.width)
        reduction = Reduction(
            self.ring, self.coarse, self.timeline, KINDS, width=COARSE * S, longer=longer
        )
        self.outbound = Outbound(
            PLAN, KINDS, self.timeline, window=FINE, grace=1.0, personal=hidden, reduction=reduction
        )

    def restart(self) -> None:
        self.ring.close()
        self.coarse.close()
        self._open()

    def pass_time(self, until: int, *, urgent: Sequence[int] = ()) -> None:
        """One group of samples every EVERY seconds up to second `until` of the boot."""
        for second in range(self.next, until, EVERY):
            group = [self.sample(device, second) for device in ("meter", HOME)]
            flag = second in urgent
            self.ring.append([Record(len(NAMES), pack(s), flag) for s in group])
        self.next = until

    def sample(self, device: str, second: int) -> Sample:
        noise = (second * 7919 + len(device)) % 1013 / 8
        values = [230 + noise, 229 + noise, 231 + noise, noise * 1e3, 1000 + second / 100]
        readings = tuple(map(Reading, NAMES, values))
        return Sample(device, Instant("boot-1", second * S), readings)

    def drain(self, at: float) -> None:
        """The hub is back: seal, receipt, until nothing is due."""
        while self.seal(at, at_most=8):
            self.receive()

    def receive(self) -> None:
        """The hub takes what is in flight, and proves it."""
        for batch in self.ring.held():
            entities = orjson.loads(self.open(batch).payload)
            check(Delivery("gw-1", batch.epoch, batch.seq, 0, 0, 0, entities))
            self.batches.append(entities)
            self.spans.append((batch.span.first, batch.span.last))
            self.ring.settle(batch.epoch, batch.seq)

    def named(self, kind: str) -> list[dict[str, Any]]:
        return [e for b in self.batches for e in b if e["type"] == f"urn:lamppost:{kind}"]

    def check_numbers(self) -> None:
        """Batches follow one another; windows and gaps of each account for all its numbers."""
        assert self.spans[0][0] == 0
        assert all(after[0] == before[1] + 1 for before, after in pairwise(self.spans))
        carried = 0
        for (first, last), entities in zip(self.spans, self.batches, strict=True):
            gaps = [e["urn:lamppost:gap"]["value"] for e in entities if "urn:lamppost:gap" in e]
            lost = sum(g["last"] - g["first"] + 1 for g in gaps)
            moved = [e["urn:lamppost:carried"]["value"] for e in entities if "urn:lamppost:carried" in e]  # fmt: skip
            carry = moved[0] if moved else {"in": 0, "out": 0}
            assert carry["in"] == carried
            carried = carry["out"]
            assert counts(entities) + lost + carried - carry["in"] == last - first + 1

    def windows(self, attribute: str) -> list[tuple[int, int, dict[str, Any]]]:
        """(begin, end, attribute) of the street meter, seconds of the boot, in the order sent."""
        found = []
        for entity in (e for b in self.batches for e in b):
            for name, content in entity.items():
                if name.endswith(attribute) and ":gw-1:meter" in entity["id"]:
                    begin, end = (_seconds(content[f"urn:lamppost:window{w}"]) for w in ("Start", "End"))  # fmt: skip
                    found.append((begin, end, content))
        return found


def _seconds(prop: dict[str, Any]) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(prop["value"]).timestamp() - BEGIN / S)


@pytest.fixture
def outage(tmp_path: Path) -> Outage:
    return Outage(tmp_path)


def test_every_minute_of_an_outage_is_covered_in_order(outage: Outage) -> None:
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    windows = outage.windows("totalActiveEnergyImport")
    assert windows[0][0] == 0
    assert all(after[0] == before[1] for before, after in pairwise(windows)), "no hole, no overlap"
    widths = [end - begin for begin, end, _ in windows]
    assert set(widths) == {COARSE, FINE}
    assert widths == sorted(widths, reverse=True), "long ones first, then the ring's own"
    assert outage.named("Gap") == []
    marks = [e["urn:lamppost:reduced"]["value"] for e in outage.named("Reduced")]
    assert {m["seconds"] for m in marks} == {COARSE}
    assert all(m["readings"] == m["last"] - m["first"] + 1 for m in marks)
    total = sum(
        w[2]["urn:lamppost:delta"]["value"] for w in windows if "urn:lamppost:delta" in w[2]
    )
    assert total == pytest.approx((16 * HOUR - EVERY) / 100), (
        "the counter is counted once, all along"
    )


def test_a_coarse_window_says_what_the_samples_say(outage: Outage) -> None:
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    samples = [outage.sample("meter", second) for second in range(0, COARSE, EVERY)]
    timed = [Timed(s, BEGIN + s.at.ns, TimeQuality.SYNCED) for s in samples]
    (expected,) = [
        w for w in reduce_windows(timed, COARSE * S, KINDS, Carry())[0] if w.point == "power.active"
    ]
    begin, end, found = outage.windows("numValue")[0]
    assert (begin, end) == (0, COARSE)
    assert found["value"] == pytest.approx(expected.mean)
    assert found["urn:lamppost:min"]["value"] == expected.low
    assert found["urn:lamppost:max"]["value"] == expected.high
    assert found["urn:lamppost:last"]["value"] == expected.last
    assert found["urn:lamppost:count"]["value"] == expected.count


def test_what_even_the_coarse_ring_drops_is_a_signed_gap(tmp_path: Path) -> None:
    outage = Outage(tmp_path, coarse=5)
    outage.pass_time(40 * HOUR)
    outage.drain(40 * HOUR + 2)
    outage.check_numbers()
    gaps = [e["urn:lamppost:gap"]["value"] for e in outage.named("Gap")]
    assert [g["why"] for g in gaps] == ["evicted"]
    assert gaps[0]["first"] == 0
    after = gaps[0]["last"] + 1
    assert outage.named("Reduced")[0]["urn:lamppost:reduced"]["value"]["first"] == after
    begin = outage.windows("numValue")[0][0]
    assert begin == after // (2 * len(NAMES)) * EVERY, "the gap ends where the first window begins"


def test_what_was_reduced_before_the_clock_was_known_gets_its_true_time(tmp_path: Path) -> None:
    outage = Outage(tmp_path, synced=False)
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    assert outage.batches == [], "the clock is awaited"
    late = Hands(boottime=16 * HOUR * S, utc_ns=BEGIN + 16 * HOUR * S, in_sync=True)
    outage.timeline.learn(late)
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    windows = outage.windows("numValue")
    assert (windows[0][0], windows[0][1]) == (0, COARSE)
    assert windows[0][2]["observedAt"] == "2027-01-15T08:14:50Z"
    assert "urn:lamppost:timeQuality" not in windows[0][2]


def test_urgent_records_go_out_as_they_are_among_the_windows(outage: Outage) -> None:
    outage.pass_time(16 * HOUR, urgent=(1200,))
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    first = [(b, e) for b, e, _ in outage.windows("numValue") if b < 2 * COARSE]
    assert sorted(first) == [(0, COARSE), (COARSE, 2 * COARSE), (1200, 1500)]


def test_batches_are_made_to_fit_a_small_ring(tmp_path: Path) -> None:
    outage = Outage(tmp_path, segment=SEGMENT // 4)
    outage.pass_time(24 * HOUR)
    outage.drain(24 * HOUR + 2)
    outage.check_numbers()
    marks = [e["urn:lamppost:reduced"]["value"] for e in outage.named("Reduced")]
    assert len(marks) > 1
    assert marks[-1]["last"] > outage.spans[-1][1] // 2
    windows = outage.windows("numValue")
    assert all(after[0] == before[1] for before, after in pairwise(windows))


def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    outage = Outage(tmp_path)
    for quarter in range(1, 9):
        outage.pass_time(quarter * 2 * HOUR)
        outage.restart()
    while outage.seal(16 * HOUR + 2, at_most=1):
        outage.restart()
        outage.receive()
    outage.check_numbers()
    windows = outage.windows("numValue")
    assert all(after[0] == before[1] for before, after in pairwise(windows))
    total = sum(
        w[2].get("urn:lamppost:delta", {"value": 0})["value"]
        for w in outage.windows("totalActiveEnergyImport")
    )
    assert total == pytest.approx((16 * HOUR - EVERY) / 100)


def test_a_household_keeps_its_long_windows(tmp_path: Path) -> None:
    outage = Outage(tmp_path, personal=True)
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    text = orjson.dumps(outage.batches).decode()
    assert HOME not in text
    own = {
        (_seconds(c["urn:lamppost:windowStart"]), _seconds(c["urn:lamppost:windowEnd"]))
        for b in outage.batches
        for e in b
        if e["id"].endswith(":p-1")
        for c in e.values()
        if isinstance(c, dict) and "urn:lamppost:windowStart" in c
    }
    assert own == {(h * HOUR, h * HOUR + HOUR) for h in range(16)}


def test_damage_among_reduced_readings_is_named(outage: Outage) -> None:
    outage.pass_time(HOUR)
    outage.ring.append([Record(3, b"no sample")])
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    (gap,) = [e["urn:lamppost:gap"]["value"] for e in outage.named("Gap")]
    assert (gap["last"] - gap["first"], gap["why"]) == (2, "evicted")


def test_a_record_that_cannot_be_read_stops_nobody(outage: Outage) -> None:
    outage.ring.append([Record(3, b"no sample")])
    outage.pass_time(HOUR)
    outage.drain(HOUR + 2)
    outage.check_numbers()
    (gap,) = [e["urn:lamppost:gap"]["value"] for e in outage.named("Gap")]
    assert gap == {"first": 0, "last": 2, "why": "unreadable"}


def test_bad_readings_are_counted_in_long_windows(outage: Outage) -> None:
    bad = Quality(Severity.BAD, "no_response")
    for second in range(0, COARSE, EVERY):
        readings = tuple(Reading(n, None, bad) for n in NAMES)
        outage.ring.append(
            [Record(5, pack(Sample("meter", Instant("boot-1", second * S), readings)))]
        )
    outage.next = COARSE
    outage.pass_time(16 * HOUR)
    outage.drain(16 * HOUR + 2)
    outage.check_numbers()
    first = next(e for b in outage.batches for e in b if "urn:lamppost:quality:numValue" in e)
    found = first["urn:lamppost:quality:numValue"]
    assert found["value"] == "no_response"
    assert found["urn:lamppost:bad"]["value"] == COARSE // EVERY
