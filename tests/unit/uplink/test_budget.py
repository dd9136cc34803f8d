"""The bytes of a month: what is counted, what gives way and in which order, and what a restart remembers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamppost.uplink.budget import CONNECT_COST, MESSAGE_COST, Budget, Thrift
from unit.gateway.test_timeline import Hands

MB = 10**6
DAY = 86400


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture
def hands() -> Hands:
    return Hands(utc_ns=at("2027-04-11T00:00:00"), in_sync=True)  # a third of April has passed


def budget(folder: Path, hands: Hands, monthly: int | None = 300 * MB) -> Budget:
    return Budget(folder / "budget.json", monthly, hands)


def test_messages_connections_and_pings_are_counted_with_their_headers(
    tmp_path: Path, hands: Hands
) -> None:
    account = budget(tmp_path, hands)
    account.connected()
    account.message(100_000)
    account.pings(10)
    assert account.spent == CONNECT_COST + 100_000 * 106 // 100 + MESSAGE_COST + 3000


def test_windows_lengthen_first_then_readings_wait_and_both_end_by_themselves(
    tmp_path: Path, hands: Hands
) -> None:
    account = budget(tmp_path, hands)  # 285 MB for readings: 9.5 a day, 95 by now
    seen: list[Any] = []
    for _ in range(150):
        account.message(MB)
        level = account.level()
        if not seen or seen[-1][1] is not level:
            seen.append((account.spent // MB, level))
    assert [level for _, level in seen] == [
        Thrift.FULL, Thrift.LONGER_WINDOWS, Thrift.ALERTS_ONLY,
    ]  # fmt: skip
    assert 104 <= seen[1][0] <= 106  # a day's share ahead
    assert 123 <= seen[2][0] <= 126  # three
    later = []
    for day in range(12, 22):
        hands.utc_ns = at(f"2027-04-{day}T00:00:00")
        later.append(account.level())
    order = [Thrift.ALERTS_ONLY, Thrift.LONGER_WINDOWS, Thrift.FULL]
    assert later == sorted(later, key=order.index)
    assert set(later) == set(order)


def test_readings_never_take_the_alerts_share(tmp_path: Path, hands: Hands) -> None:
    hands.utc_ns = at("2027-04-30T23:00:00")
    account = budget(tmp_path, hands)
    while account.level() is not Thrift.ALERTS_ONLY:
        account.message(100_000)
    assert 0.95 * 300 * MB <= account.spent <= 0.951 * 300 * MB


def test_a_whole_month_of_wanting_more_stays_within_the_budget(
    tmp_path: Path, hands: Hands
) -> None:
    hands.utc_ns = at("2027-04-01T00:00:00")
    account = budget(tmp_path, hands)
    waited = 0
    for _ in range(30 * 24 * 6):  # ten minutes each; 1 MB of readings wanted in each: 4,320 MB
        hands.utc_ns += 600 * 10**9 if hands.utc_ns < at("2027-04-30T23:49:00") else 0
        level = account.level()
        if level is Thrift.ALERTS_ONLY:
            waited += 1
        else:
            account.message(MB // (15 if level is Thrift.LONGER_WINDOWS else 1))
        account.pings(10)
    assert 250 * MB < account.spent <= 300 * MB
    assert waited > 0


def test_a_restart_never_forgets_spending(tmp_path: Path, hands: Hands) -> None:
    for _ in range(20):
        account = budget(tmp_path, hands)
        before = account.spent
        for _ in range(50):
            account.message(7_000)
        again = budget(tmp_path, hands)
        assert again.spent >= account.spent > before
        assert again.spent - account.spent <= 600_000


def test_a_new_month_begins_by_a_synchronised_clock_only(tmp_path: Path, hands: Hands) -> None:
    account = budget(tmp_path, hands)
    account.message(200 * MB)
    assert account.level() is Thrift.ALERTS_ONLY
    hands.in_sync, hands.utc_ns = False, at("2031-01-01T00:00:00")
    assert account.level() is Thrift.ALERTS_ONLY
    hands.utc_ns = 0
    assert account.level() is Thrift.ALERTS_ONLY
    assert budget(tmp_path, hands).spent >= 200 * MB
    hands.in_sync, hands.utc_ns = True, at("2027-03-01T00:00:00")  # months do not go back
    assert account.level() is Thrift.ALERTS_ONLY
    hands.utc_ns = at("2027-05-01T00:00:10")
    assert account.level() is Thrift.FULL
    assert account.spent == 0
    assert budget(tmp_path, hands).spent == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"month": "x", "spent": 1}', '{"month": ""}'])
def test_a_damaged_file_keeps_nobody_from_sending(
    tmp_path: Path, hands: Hands, content: str
) -> None:
    (tmp_path / "budget.json").write_text(content)
    account = budget(tmp_path, hands)
    assert (account.spent, account.level()) == (0, Thrift.FULL)


def test_without_a_budget_nothing_gives_way_and_it_is_counted_all_the_same(
    tmp_path: Path, hands: Hands
) -> None:
    account = budget(tmp_path, hands, None)
    account.message(10_000 * MB)
    assert account.level() is Thrift.FULL
    assert budget(tmp_path, hands, None).spent >= 10_000 * MB
