"""Samples find their UTC, whenever the clock of their boot was learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamppost.model import Instant, TimeQuality
from lamppost.timeline import Timeline

HOUR = 3600 * 10**9
NOW = 1_800_000_000 * 10**9


@dataclass
class Hands:
    """A clock whose hands the test moves."""

    boot: str = "boot-1"
    boottime: int = HOUR
    utc_ns: int = NOW
    in_sync: bool = False

    def utc(self) -> int:
        return self.utc_ns

    def now(self) -> Instant:
        return Instant(self.boot, self.boottime)

    def monotonic(self) -> float:
        return self.boottime / 1e9

    def synced(self) -> bool:
        return self.in_sync

    async def sleep_until(self, deadline: float) -> None:
        self.boottime = max(self.boottime, round(deadline * 1e9))


def test_samples_taken_before_the_sync_get_their_true_time_afterwards(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    clock = Hands(utc_ns=0)  # 1970
    timeline.learn(clock)
    early = Instant("boot-1", clock.boottime - 5)
    assert timeline.utc(early) is None
    clock.in_sync, clock.utc_ns = True, NOW
    assert timeline.learn(clock)
    assert timeline.utc(early) == (NOW - 5, TimeQuality.SYNCED)


def test_a_later_step_moves_nothing_already_placed(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    clock = Hands(in_sync=True)
    timeline.learn(clock)
    placed = timeline.utc(clock.now())
    clock.utc_ns += 10 * HOUR
    assert not timeline.learn(clock)
    assert timeline.utc(clock.now()) == placed


def test_an_unsynchronised_time_goes_out_only_where_the_site_says_so(tmp_path: Path) -> None:
    clock = Hands()
    for send, expected in ((False, None), (True, (NOW, TimeQuality.UNSYNCED))):
        timeline = Timeline(tmp_path / f"{send}.json", send_unsynced=send)
        timeline.learn(clock)
        assert timeline.utc(clock.now()) == expected


def test_a_boot_that_never_synchronised_is_not_waited_for_after_the_next_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "boots.json"
    first = Hands()
    Timeline(path, send_unsynced=False).learn(first)
    timeline = Timeline(path, send_unsynced=False)
    timeline.learn(Hands(boot="boot-2", boottime=1, utc_ns=NOW + HOUR, in_sync=True))
    assert timeline.utc(first.now()) == (NOW, TimeQuality.UNSYNCED)


def test_a_restart_in_the_same_boot_keeps_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    clock = Hands(in_sync=True)
    Timeline(path, send_unsynced=False).learn(clock)
    clock.utc_ns += 7  # the wall clock drifted a little against the boot clock
    again = Timeline(path, send_unsynced=False)
    again.learn(clock)
    assert again.utc(clock.now()) == (NOW, TimeQuality.SYNCED)


def test_a_damaged_file_keeps_nobody_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    for damage in (b"", b"[]", b'{"a": 1}', b"\xff"):
        path.write_bytes(damage)
        timeline = Timeline(path, send_unsynced=True)
        assert timeline.learn(Hands())
