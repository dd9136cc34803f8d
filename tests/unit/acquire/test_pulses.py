"""Rates from edges, totals that go on, and a file of counts that was damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamppost.acquire.counts import CountsFile, Total
from lamppost.acquire.pulses import Rate
from lamppost.links.gpio import Contact, Edges

S = 1_000_000_000


def test_a_rate_falls_and_ends_when_pulses_do() -> None:
    rate = Rate(0)
    assert rate.look(Edges(0, 0), 10 * S, 10.0) is None
    assert rate.look(Edges(1, 19 * S), 20 * S, 10.0) is None  # one edge is no rate
    assert rate.look(Edges(21, 29 * S), 30 * S, 10.0) == 2.0
    assert rate.look(Edges(41, 39 * S), 40 * S, 10.0) == 2.0
    assert rate.look(Edges(41, 39 * S), 49 * S, 10.0) == pytest.approx(0.1)
    assert rate.look(Edges(41, 39 * S), 60 * S, 10.0) == 0.0
    assert rate.look(Edges(42, 64 * S), 70 * S, 10.0) == pytest.approx(1 / 25)


def test_a_slow_meter_is_not_taken_to_stand_still() -> None:
    rate = Rate(0)
    rate.look(Edges(1, 10 * S), 20 * S, 10.0)
    assert rate.look(Edges(2, 82 * S), 90 * S, 10.0) == pytest.approx(1 / 72)
    assert rate.look(Edges(2, 82 * S), 150 * S, 10.0) == pytest.approx(1 / 72)
    assert rate.look(Edges(2, 82 * S), 282 * S, 10.0) == pytest.approx(1 / 200)
    assert rate.look(Edges(2, 82 * S), 802 * S, 10.0) == 0.0


def test_a_meter_that_never_pulsed_stands_still_after_a_minute() -> None:
    rate = Rate(5 * S)
    assert rate.look(Edges(0, 0), 64 * S, 10.0) is None
    assert rate.look(Edges(0, 0), 65 * S, 10.0) == 0.0


def test_totals_go_on_when_a_pulse_is_worth_something_else(tmp_path: Path) -> None:
    file = CountsFile(tmp_path / "counts.json")
    assert file.load() == {}
    file.save({"water": Total(0.0, 120, 0.01), "gas": Total(0.0, 3, 0.1)})
    again = CountsFile(tmp_path / "counts.json")
    kept = again.load()["water"]
    assert kept == Total(0.0, 120, 0.01)
    assert kept.worth(0.01) is kept
    changed = kept.worth(0.005).plus(10)
    assert changed.value == pytest.approx(1.25)
    again.save({"water": changed})
    assert CountsFile(tmp_path / "counts.json").load() == {
        "water": changed,
        "gas": Total(0.0, 3, 0.1),
    }


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": "other/1", "counts": {}}'])
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "counts.json"
    file.write_bytes(content)
    assert CountsFile(file).load() == {}
    assert (tmp_path / "counts.json.damaged").read_bytes() == content


def test_a_contact_counts_once_however_it_bounces(monkeypatch: pytest.MonkeyPatch) -> None:
    now, level = 0, 1
    monkeypatch.setattr("lamppost.links.gpio.monotonic_ns", lambda: now)
    contact = Contact(lambda pin: level, 17, 0, 5_000_000)
    for start, to in ((10, 0), (40, 1), (70, 0), (100, 1)):
        for at in range(7):
            now, level = (start + at) * 1_000_000, to if at % 2 == 0 else 1 - to
            contact.add(17)
    now = 104_000_000
    assert contact.edges.count == 2  # the last opening has not stood for long enough
    for at in (110, 112):  # a glitch of 2 ms
        now, level = at * 1_000_000, 0 if at == 110 else 1
        contact.add(17)
    now = 200_000_000
    assert contact.edges == Edges(2, 76_000_000)


def test_edges_that_are_told_late_count_by_the_kernels_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10_000_000_000
    monkeypatch.setattr("lamppost.links.gpio.monotonic_ns", lambda: now)
    contact = Contact(lambda pin: 1, 17, 0, 5_000_000)
    for start, to in ((10, 0), (40, 1), (70, 0), (100, 1)):
        for at in range(7):
            level = to if at % 2 == 0 else 1 - to
            contact.edge(0, 17, level, (9_000 + start + at) * 1_000_000)
    assert contact.edges == Edges(2, 9_076_000_000)
    contact.edge(0, 17, 0, 1_770_000_000_000_000_000)  # another clock
    contact.edge(0, 17, 2, 9_990_000_000)
    now += 6_000_000
    assert contact.edges == Edges(3, 10_000_000_000)
