"""A time of maintenance: kept through a restart, over by itself, ended by hand, never longer than a day."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamppost.clock import SystemClock
from lamppost.errors import StoreError
from lamppost.status.maintenance import LONGEST, Maintenance

S = 10**9


class At(SystemClock):
    """A clock that stands where it is put."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    def utc(self) -> int:
        return self.seconds * S


def test_it_is_told_and_ends_by_itself(tmp_path: Path) -> None:
    clock = At(1000)
    here = Maintenance(tmp_path / "m.json", clock)
    assert here.report() == {}
    answer = here.answer({"seconds": 600, "reason": "meter 2", "by": "anna"})
    assert answer["maintenance"] == {"until": 1600, "reason": "meter 2", "by": "anna"}
    clock.seconds = 1599
    assert here.report()["until"] == 1600
    assert Maintenance(tmp_path / "m.json", clock).report() == here.report()
    clock.seconds = 1601
    assert here.report() == {}
    assert Maintenance(tmp_path / "m.json", clock).report() == {}


def test_it_is_ended_by_hand_and_never_lasts_long(tmp_path: Path) -> None:
    here = Maintenance(tmp_path / "m.json", At(0))
    assert here.answer({"seconds": 10**9})["maintenance"]["until"] == LONGEST
    assert here.answer({"seconds": 0})["maintenance"] == {}
    assert Maintenance(tmp_path / "m.json", At(0)).report() == {}


def test_a_damaged_file_is_no_maintenance_and_a_full_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for content in (b"", b"[]", b'{"until": "soon"}', b"\xff"):
        path.write_bytes(content)
        assert Maintenance(path, At(0)).report() == {}
    with pytest.raises(StoreError) as refused:
        Maintenance(tmp_path / "no/such/m.json", At(0)).answer({"seconds": 9})
    assert refused.value.code == "store.not-written"
