"""A household's meter: long windows, another name, nothing raw, every reading accounted for, restarts in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamppost.aggregate import Deferred
from lamppost.config.load import site as load_site
from lamppost.config.problems import SiteInvalid
from lamppost.envelope.pseudonym import SiteKey
from lamppost.errors import TrustError
from lamppost.model import Instant, Quality, Reading, Sample, Severity
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from lamppost_drivers.library import LIBRARY
from lamppost_hub.delivery import Delivery, check
from unit.gateway.test_outbound import Post, counts

S = 10**9
HOME, STREET = "flat-7-mueller", "lamp-meter"
POINTS = (
    ("power", "W", "gauge"),
    ("energy.import", "kWh", "counter"),
    ("serial", "", "gauge"),
    ("door.open", "", "gauge"),
)
PLAN = SitePlan(
    "gw-1",
    (13.4, 52.5),
    devices=(
        DevicePlan(STREET, "sdm120", points=POINTS[:2], description="lamp 12"),
        DevicePlan(
            HOME, "sdm120", points=POINTS, description="Mueller, 2nd floor", metering_since=1
        ),
    ),
)
KINDS = {(d.name, n): kind for d in PLAN.devices for n, _, kind in d.points}
SERIAL = "ELS-00471182"
FIFTEEN = 900
BAD = Quality(Severity.BAD, "no_response")


@dataclass
class House(Post):
    """A gateway with a street meter and a household's, which can be restarted; what the hub got is kept."""

    folder: Path
    seqs: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    covered: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.folder)
        self.outbound = self._stage()

    def _stage(self) -> Outbound:
        self.name = SiteKey.load(self.folder / "pseudonym.key").pseudonym("gw-1", HOME)
        personal = Personal({HOME: self.name}, FIFTEEN * S, KINDS)
        timeline = Timeline(self.folder / "boots.json", send_unsynced=False)
        return Outbound(PLAN, KINDS, timeline, window=60.0, grace=1.0, personal=personal)

    def restart(self) -> None:
        self.ring.close()
        self.ring = Ring.open(self.folder / "ring", 8 * 1024 * 1024)
        self.outbound = self._stage()

    def minute(self, number: int, devices: Sequence[str] = (STREET, HOME)) -> None:
        for second in range(number * 60, number * 60 + 60, 10):
            for device in devices:
                readings = self._readings(device, second)
                sample = Sample(device, Instant("boot-1", second * S), readings)
                self.ring.append([Record(len(readings), pack(sample))])

    def _readings(self, device: str, second: int) -> tuple[Reading, ...]:
        bad = second % 500 == 0
        first = Reading(
            "power",
            None if bad else 1234.5 + second,
            BAD if bad else Quality(Severity.GOOD, "good"),
        )
        usual = (first, Reading("energy.import", 100.0 + second / 1000))
        return (
            usual
            if device == STREET
            else (*usual, Reading("serial", SERIAL), Reading("door.open", True))
        )

    def pump(self, at: float, *, flush: bool = False) -> None:
        self.seal(at, flush=flush)
        for batch in self.ring.held():
            self.payloads.append(self.open(batch).payload)
            self.seqs.append(batch.seq)
            assert batch.span.first == self.covered
            self.covered = batch.span.last + 1
            self.ring.settle(batch.epoch, batch.seq)

    def sent(self) -> list[list[dict[str, Any]]]:
        return [orjson.loads(p) for p in self.payloads]

    def waiting(self) -> int:
        """Readings that batches have covered and none has counted yet."""
        head = self.ring.head()
        stored = orjson.loads(head.state).get("deferred", []) if head else []
        return Deferred.from_plain(stored).count


def attributes(batches: list[list[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    return [
        value
        for entities in batches
        for entity in entities
        if name in entity["id"]
        for value in entity.values()
        if isinstance(value, dict) and "urn:lamppost:windowStart" in value
    ]


@pytest.fixture
def lived(tmp_path: Path) -> House:
    """67 minutes with a restart in each third, in the middle of personal windows, and a flush at the end."""
    house = House(tmp_path)
    for minute in range(67):
        house.minute(minute)
        house.pump(minute * 60 + 62)
        if minute % 3 == 1:
            house.restart()
    house.pump(67 * 60, flush=True)
    return house


def test_nothing_of_the_household_is_in_any_payload(lived: House) -> None:
    text = b"".join(lived.payloads).decode()
    for secret in (HOME, "mueller", "Mueller", "2nd floor", SERIAL, "flat"):
        assert secret not in text
    assert lived.name in text
    assert STREET in text  # others go out as before
    for entity in (e for batch in lived.sent() for e in batch):
        if lived.name in entity["id"]:
            assert "location" not in entity


def test_its_windows_are_long_and_hold_no_momentary_value(lived: House) -> None:
    found = attributes(lived.sent(), lived.name)
    assert len(found) == 4 * len(POINTS)
    for attribute in found:
        start, end = (attribute[f"urn:lamppost:window{x}"]["value"] for x in ("Start", "End"))
        assert end[14:16] in ("00", "15", "30", "45")
        assert (int(end[14:16]) - int(start[14:16])) % 60 == 15
        assert attribute["urn:lamppost:count"]["value"] == FIFTEEN // 10
        if "urn:lamppost:min" in attribute:
            assert "urn:lamppost:last" not in attribute
    streets = attributes(lived.sent(), STREET)
    assert len(streets) >= 2 * 66


def test_every_reading_is_counted_once_over_restarts(lived: House) -> None:
    assert lived.covered == lived.ring.last + 1 == 67 * 6 * 6
    counted = sum(counts(entities) for entities in lived.sent())
    assert counted + lived.waiting() == lived.covered
    assert lived.waiting() == 7 * 6 * 4  # the window that is still open, kept over the flush
    lived.restart()
    for minute in range(67, 76):
        lived.minute(minute)
        lived.pump(minute * 60 + 62)
    assert lived.waiting() == 6 * 4
    counted = sum(counts(entities) for entities in lived.sent())
    assert counted + lived.waiting() == lived.covered
    assert lived.seqs == list(range(len(lived.seqs)))


def test_each_batch_says_what_it_carries_over(lived: House) -> None:
    before = covered = 0
    for entities in lived.sent():
        (carried,) = [
            e["urn:lamppost:carried"]["value"]
            for e in entities
            if e["type"] == "urn:lamppost:Carried"
        ]
        assert carried["in"] == before
        covered += counts(entities) + carried["out"] - carried["in"]
        before = carried["out"]
    assert covered == lived.covered


def test_a_counter_counts_on_over_parts_and_restarts(lived: House) -> None:
    deltas = [
        a["urn:lamppost:delta"]["value"]
        for a in attributes(lived.sent(), lived.name)
        if "urn:lamppost:delta" in a
    ]
    assert sum(deltas) == pytest.approx(3.590)  # second 0 to second 3590
    assert len(deltas) == 4


def test_a_backlog_gives_the_same_windows_as_live_sealing(lived: House, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    late = House(tmp_path / "late")
    for minute in range(67):
        late.minute(minute)
    late.pump(67 * 60, flush=True)
    whole = [dict(a) for a in attributes(late.sent(), late.name)]
    for live, once in zip(attributes(lived.sent(), lived.name), whole, strict=True):
        if isinstance(live["value"], float):
            assert live["value"] == pytest.approx(once["value"], rel=0.01)
        live["value"] = once["value"] = 0
        for part in ("delta",):
            live.pop(f"urn:lamppost:{part}", None)
            once.pop(f"urn:lamppost:{part}", None)
        assert live == once


def test_with_nothing_but_personal_devices_a_batch_goes_when_a_window_ends(tmp_path: Path) -> None:
    house = House(tmp_path)
    for minute in range(31):
        house.minute(minute, (HOME,))
        house.pump(minute * 60 + 62)
    assert len(house.payloads) == 2
    assert sum(counts(e) for e in house.sent()) == 2 * 90 * 4


def test_pseudonyms_are_stable_and_differ_by_gateway_device_and_key(tmp_path: Path) -> None:
    key = SiteKey.load(tmp_path / "a.key")
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    again = SiteKey.load(tmp_path / "a.key")
    assert key.pseudonym("gw-1", HOME) == again.pseudonym("gw-1", HOME)
    other = SiteKey.load(tmp_path / "b.key")
    names = {
        key.pseudonym("gw-1", HOME),
        key.pseudonym("gw-2", HOME),
        key.pseudonym("gw-1", STREET),
        other.pseudonym("gw-1", HOME),
    }
    assert len(names) == 4
    assert repr(key) == "SiteKey()"


def test_a_key_that_others_may_read_or_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    SiteKey.load(path)
    path.chmod(0o644)
    with pytest.raises(TrustError) as exposed:
        SiteKey.load(path)
    assert exposed.value.code == "trust.key-exposed"
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(TrustError) as damaged:
        SiteKey.load(path)
    assert damaged.value.code == "trust.key-damaged"


SITE = """
[site]
gateway = "gw-1"
hub = "h"
[privacy]
window = "{window}"
[uplink]
host = "h"
[[link]]
name = "u"
kind = "serial"
port = "/dev/ttyAMA0"
[[device]]
name = "home"
model = "pms5003"
link = "u"
every = "{every}"
personal = true
"""


@pytest.mark.parametrize(
    ("window", "every", "key"),
    [("5min", "10s", "privacy.window"), ("15min", "10min", "device[0].every")],
)
def test_a_site_that_would_send_raw_samples_is_refused(window: str, every: str, key: str) -> None:
    with pytest.raises(SiteInvalid) as refused:
        load_site(SITE.format(window=window, every=every).encode(), LIBRARY.__getitem__)
    assert key in [p.key for p in refused.value.problems]


def test_the_default_window_is_a_quarter_of_an_hour() -> None:
    raw = SITE.replace('[privacy]\nwindow = "{window}"\n', "").format(every="10s")
    assert load_site(raw.encode(), LIBRARY.__getitem__).privacy.window == 900


def test_the_hub_takes_such_batches(lived: House) -> None:
    for seq, entities in enumerate(lived.sent()):
        delivery = Delivery("gw-1", "e", seq, 0, 1, 0, entities)
        check(delivery)
        assert delivery.readings == counts(entities)
