"""What leaves the ring: whole windows, contiguous numbers, the same entities every time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamppost.envelope.identity import Identity
from lamppost.envelope.keys import (
    DecryptionKey,
    FileSigner,
    create_encryption_key,
    create_signing_key,
)
from lamppost.envelope.seal import Opened, SignerRecord, open_message
from lamppost.model import Batch, Instant, Reading, Sample
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound
from lamppost.packing import pack
from lamppost.portion import BATCH_READINGS
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from unit.gateway.test_timeline import Hands

S = 10**9
BEGIN = 1_800_000_000 * S  # a multiple of 10 s; boot time and UTC run together from here
POINTS = (("voltage.l1", "V", "gauge"), ("energy.import", "kWh", "counter"))
PLAN = SitePlan("gw-1", (13.4, 52.5), devices=(DevicePlan("meter", "sdm630", points=POINTS),))
KINDS = {("meter", name): kind for name, _, kind in POINTS}


class Post:
    """A ring, an outbound stage, and the hub's key to read what it sealed. A folder that has keys keeps them."""

    def __init__(self, folder: Path) -> None:
        self.timeline = Timeline(folder / "boots.json", send_unsynced=False)
        self.timeline.learn(Hands(boottime=0, utc_ns=BEGIN, in_sync=True))
        self.ring = Ring.open(folder / "ring", 8 * 1024 * 1024)
        self.outbound = Outbound(PLAN, KINDS, self.timeline, window=10.0, grace=1.0)
        if not (folder / "hub.key").exists():
            create_signing_key(folder / "envelope.key")
            create_encryption_key(folder / "hub.key")
        self._hub = DecryptionKey.load(folder / "hub.key")
        encryption = self._hub.public
        self._signer = FileSigner.load(folder / "envelope.key")
        self.identity = Identity(
            "gw-1", "hub", self._signer, encryption, {}, folder, folder, folder, 0, 0
        )

    def take(self, seconds: Iterable[float]) -> None:
        self.ring.append([Record(2, pack(sample(at))) for at in seconds])

    def seal(
        self, at: float, at_most: int = 100, *, flush: bool = False, boot: str = "boot-1"
    ) -> int:
        now = Instant(boot, round(at * S))
        return self.outbound.seal_due(self.ring, self.identity, now, at_most=at_most, flush=flush)

    def open(self, batch: Batch, topic: str = "lamppost/gw-1/up") -> Opened:
        record = SignerRecord("gw-1", self._signer.public)
        return open_message(
            batch.message,
            topic,
            aud="hub",
            hub_keys={self._hub.kid: self._hub},
            signer_of=lambda kid: record,
        )

    def entities(self) -> list[list[dict[str, Any]]]:
        return [orjson.loads(self.open(batch).payload) for batch in self.ring.held()]


def sample(at: float) -> Sample:
    readings = (Reading("voltage.l1", 230.0), Reading("energy.import", 100.0 + at / 10))
    return Sample("meter", Instant("boot-1", round(at * S)), readings)


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


def counts(entities: list[dict[str, Any]]) -> int:
    total = 0
    for entity in entities:
        for attribute in entity.values():
            if isinstance(attribute, dict) and "urn:lamppost:count" in attribute:
                value = attribute["urn:lamppost:count"]["value"]
                total += sum(value.values()) if isinstance(value, dict) else value
    return total


def test_a_window_waits_for_its_end_and_the_grace(post: Post) -> None:
    post.take(range(12))
    assert post.seal(10.5) == 0
    assert post.seal(11.0) == 1
    (batch,) = post.ring.held()
    assert (batch.seq, batch.span.first, batch.span.last) == (0, 0, 19)
    assert post.seal(11.5) == 0


def test_batches_are_contiguous_chained_and_account_for_every_reading(post: Post) -> None:
    for second in range(60):
        post.take([second])
        post.seal(second)
    post.seal(61)
    batches = post.ring.held()
    assert len(batches) == 6
    for before, after in pairwise(batches):
        assert after.span.first == before.span.last + 1
        assert post.open(after).header.prev == before.digest
    for batch, entities in zip(batches, post.entities(), strict=True):
        header = post.open(batch).header
        assert header.count == batch.span.count == counts(entities)


def test_stopping_seals_the_open_window_and_starting_again_goes_on(post: Post) -> None:
    post.take(range(4))
    assert post.seal(4.0, flush=True) == 1
    post.take(range(4, 12))
    assert post.seal(11.0) == 1
    first, second = post.ring.held()
    assert (first.span.last, second.span.first, second.span.last) == (7, 8, 19)


def test_a_long_backlog_is_cut_at_windows_into_batches_of_bounded_size(post: Post) -> None:
    total = BATCH_READINGS // 2 * 3
    for begin in range(0, total, 500):
        post.take(range(begin, begin + 500))
    assert post.seal(total + 2) == 3
    sizes = [batch.span.count for batch in post.ring.held()]
    assert sum(sizes) == 2 * total
    assert all(size <= BATCH_READINGS + 20 for size in sizes)
    assert all(batch.span.last % 20 == 19 for batch in post.ring.held())


def test_a_batch_that_would_be_too_large_is_made_of_fewer_readings(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site with long texts: its entities are larger than anybody thought when the number was chosen."""
    monkeypatch.setattr("lamppost.envelope.compression.MAX_PAYLOAD", 60_000)
    post.take(range(600))
    assert post.seal(602) > 1
    batches = post.ring.held()
    assert sum(batch.span.count for batch in batches) == 1200
    assert all(batch.span.last % 20 == 19 for batch in batches)
    monkeypatch.undo()
    assert sum(counts(entities) for entities in post.entities()) == 1200


def test_no_more_than_asked_are_sealed(post: Post) -> None:
    post.take(range(12))
    assert post.seal(30, at_most=0) == 0


def test_a_running_boot_without_a_time_holds_back_itself_and_no_boot_before_it(post: Post) -> None:
    post.take([0, 1])
    post.timeline.learn(Hands(boot="boot-2", boottime=0, utc_ns=0))
    waiting = Sample("meter", Instant("boot-2", 5), sample(2).readings)
    post.ring.append([Record(2, pack(waiting))])
    assert post.seal(30, boot="boot-2") == 1
    assert post.ring.held()[0].span.last == 3
    assert post.seal(30, boot="boot-2", flush=True) == 0
    post.timeline.learn(Hands(boot="boot-2", boottime=30 * S, utc_ns=BEGIN + 90 * S, in_sync=True))
    assert post.seal(30, boot="boot-2", flush=True) == 1


def test_a_counter_is_continued_over_batches_and_restarts(post: Post, tmp_path: Path) -> None:
    post.take(range(10))
    post.seal(11)
    post.ring.close()
    post.ring = Ring.open(tmp_path / "ring", 8 * 1024 * 1024)
    post.take(range(10, 20))
    post.seal(21)
    deltas = [
        attribute["urn:lamppost:delta"]["value"]
        for entities in post.entities()
        for entity in entities
        for attribute in entity.values()
        if isinstance(attribute, dict) and "urn:lamppost:delta" in attribute
    ]
    assert sum(deltas) == pytest.approx(1.9)  # 100.0 at second 0 to 101.9 at second 19


def test_the_same_range_gives_the_same_entities(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        post = Post(tmp_path / name)
        post.take(range(25))
        post.seal(31)
        found.append(post.entities())
    assert found[0] == found[1]
