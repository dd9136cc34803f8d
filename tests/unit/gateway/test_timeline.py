"""Samples find their UTC, whenever the clock of their boot was learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamppost import RELEASED_NS
from lamppost.clock import flag_is_fresh
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


def test_the_floor_rises_by_receipts_and_metadata_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    timeline = Timeline(path, send_unsynced=False)
    clock = Hands(in_sync=True)
    timeline.learn(clock)
    timeline.proved(clock.now())
    assert (
        timeline.floor == RELEASED_NS
    )  # more than a year ahead: such a clock must stand a day first
    clock.boottime += 25 * HOUR
    clock.utc_ns += 25 * HOUR
    timeline.proved(clock.now())
    assert timeline.floor == clock.utc_ns
    timeline.raise_floor(clock.utc_ns + HOUR)
    timeline.raise_floor(0)
    again = Timeline(path, send_unsynced=False)
    assert again.floor == clock.utc_ns + HOUR


def test_a_clock_behind_the_floor_is_not_believed_even_if_it_claims_to_be_synced(
    tmp_path: Path,
) -> None:
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    clock = Hands(utc_ns=0, in_sync=True)
    timeline.learn(clock)
    assert (timeline.state, timeline.utc(clock.now())) == ("behind-floor", None)
    clock.utc_ns = NOW
    timeline.learn(clock)
    assert (timeline.state, timeline.utc(clock.now())) == ("synced", (NOW, TimeQuality.SYNCED))


def test_holdover_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    clock = Hands(in_sync=True)
    states = []
    for hour, in_sync in ((0, True), (1, False), (2, False), (3, True)):
        clock.boottime, clock.utc_ns, clock.in_sync = hour * HOUR, NOW + hour * HOUR, in_sync
        timeline.learn(clock)
        states.append(timeline.state)
    assert states == ["synced", "synced", "holdover", "synced"]
    marks = [timeline.utc(Instant("boot-1", ns)) for ns in (HOUR, 2 * HOUR + 1, 3 * HOUR + 1)]
    assert [m[1].value for m in marks if m] == ["synced", "holdover", "synced"]


def test_the_first_format_of_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    path.write_text('{"old": [1000, "synced"], "older": [7, "unsynced"]}')
    timeline = Timeline(path, send_unsynced=True)
    assert timeline.utc(Instant("old", 5)) == (1005, TimeQuality.SYNCED)
    assert timeline.utc(Instant("older", 5)) == (12, TimeQuality.UNSYNCED)


def test_the_flag_of_timesyncd_counts_only_while_fresh(tmp_path: Path) -> None:
    flag = tmp_path / "synchronized"
    assert not flag_is_fresh(flag, NOW)
    flag.touch()
    touched = flag.stat().st_mtime_ns
    assert flag_is_fresh(flag, touched + HOUR)
    assert not flag_is_fresh(flag, touched + 2 * HOUR)
    assert not flag_is_fresh(flag, touched - HOUR)
