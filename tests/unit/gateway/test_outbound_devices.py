"""Which batches describe devices: all of them now and then, else only what has changed; a restart changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamppost.model import Instant, Quality, Reading, Sample, Severity
from lamppost.outbound import DEVICES_EVERY, Outbound
from lamppost.packing import pack
from lamppost.ring import Record
from unit.gateway.test_outbound import KINDS, PLAN, Post, S

SILENT = Quality(Severity.BAD, "no_response")


def read(post: Post, minute: int, quality: Quality | None) -> None:
    """One sample in each window of ten seconds; `quality` is the device's fault, if it has one."""
    at = Instant("boot-1", minute * 10 * S)
    value = None if quality else 230.0
    readings = (
        Reading("voltage.l1", value, quality) if quality else Reading("voltage.l1", value),
        Reading("energy.import", None, quality) if quality else Reading("energy.import", 5.0),
    )
    post.ring.append([Record(2, pack(Sample("meter", at, readings)))])
    post.seal(minute * 10 + 11)


def described(entities: list[dict[str, Any]]) -> list[str]:
    """Devices and models of a batch, the gateway itself left out."""
    ids = [
        str(e["id"])
        for e in entities
        if e["id"].startswith(("urn:ngsi-ld:Device:", "urn:ngsi-ld:DeviceModel"))
    ]
    return sorted(i.removeprefix("urn:ngsi-ld:") for i in ids if i != "urn:ngsi-ld:Device:gw-1")


def test_all_now_and_then_and_what_changed_in_between(tmp_path: Path) -> None:
    post = Post(tmp_path)
    for window in range(DEVICES_EVERY + 2):
        read(post, window, SILENT if window in (5, 6) else None)
    told = [described(entities) for entities in post.entities()]
    assert len(told) == DEVICES_EVERY + 2
    whole = ["Device:gw-1:meter", "DeviceModel:sdm630"]
    expected: dict[int, list[str]] = {0: whole, DEVICES_EVERY: whole}
    expected |= {key: ["Device:gw-1:meter"] for key in (5, 7)}  # it fell silent, it was back
    assert told == [expected.get(seq, []) for seq in range(DEVICES_EVERY + 2)]


def test_a_batch_made_after_a_restart_is_the_same(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = Post(tmp_path / "a"), Post(tmp_path / "b")
    for window in range(6):
        for post in (first, second):
            read(post, window, SILENT if window == 3 else None)
        if window == 2:
            second.outbound = Outbound(PLAN, KINDS, second.timeline, window=10.0, grace=1.0)
    assert first.entities() == second.entities()
