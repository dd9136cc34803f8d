"""`lamppost buffer peek | export | verify`: what a card in a laptop tells, and that it stays as it is."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from lamppost.model import Instant, Quality, Reading, Sample, Severity, Span
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.ring.coarse import CoarseRing, Group
from lamppost.timeline import Timeline
from unit.gateway.test_cli import call
from unit.gateway.test_timeline import Hands

S = 10**9
SAMPLES = 300


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A state folder as a power cut left it: the ring is never closed."""
    state = tmp_path / "state"
    state.mkdir()
    Timeline(state / "boots.json", send_unsynced=False).learn(Hands(boottime=0, in_sync=True))
    ring = Ring.open(state / "ring", 1024 * 1024)
    bad = Quality(Severity.BAD, "no_response")
    for second in range(SAMPLES):
        readings = (
            Reading("voltage", 230.5),
            Reading("door", second % 2 == 0),
            Reading("label", None, bad),
        )
        sample = Sample("meter", Instant("boot-1", second * S), readings)
        ring.append([Record(3, pack(sample))])
    return state


def fingerprint(state: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(state.rglob("*"))
        if p.is_file()
    }


def segment(state: Path) -> Path:
    return min((state / "ring").glob("*.seg"))


def unlocked(state: Path) -> Path:
    """As on another machine: no process holds the lock."""
    (state / "ring" / "lock").unlink()
    return state


def test_peek_shows_the_newest_readings(capsys: pytest.CaptureFixture[str], card: Path) -> None:
    code, lines = call(capsys, "buffer", "peek", "--state", card, "-n", 3)
    assert code == 0
    assert len(lines) == 4
    assert "meter/voltage 230.5 good" in lines[0]
    assert lines[2].endswith("meter/label - no_response")
    assert lines[-1] == f"OK 3 of {3 * SAMPLES} readings shown"
    code, lines = call(capsys, "buffer", "peek", "--json", "--state", card, "-n", 3)
    found = json.loads("\n".join(lines))
    assert found["schema"] == "lamppost.buffer-peek/1"
    assert [r["number"] for r in found["readings"]] == [897, 898, 899]
    assert found["readings"][0]["utc"] == "2027-01-15T08:04:59Z"
    assert found["readings"][0]["time_quality"] == "synced"


def test_export_as_csv_and_json_lines(
    capsys: pytest.CaptureFixture[str], card: Path, tmp_path: Path
) -> None:
    code, lines = call(capsys, "buffer", "export", "--state", card)
    rows = list(csv.DictReader(lines))
    assert (code, len(rows)) == (0, 3 * SAMPLES)
    assert [r["value"] for r in rows[:3]] == ["230.5", "true", ""]
    out = tmp_path / "all.jsonl"
    code, lines = call(
        capsys, "buffer", "export", "--state", card, "--format", "jsonl", "--out", out, "--json"
    )
    assert (code, json.loads("\n".join(lines))["readings"]) == (0, 3 * SAMPLES)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["number"] for r in found] == list(range(3 * SAMPLES))
    assert [r["value"] for r in found[:3]] == [230.5, True, None]
    assert out.stat().st_mode & 0o077 == 0


def test_export_as_parquet_needs_its_extra(
    capsys: pytest.CaptureFixture[str],
    card: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lamppost.cli.tables.has_parquet", lambda: False)
    out = tmp_path / "all.parquet"
    code, _ = call(capsys, "buffer", "export", "--state", card, "--format", "parquet", "--out", out)
    assert (code, out.exists()) == (2, False)


def test_export_as_parquet(capsys: pytest.CaptureFixture[str], card: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    out = tmp_path / "all.parquet"
    code, _ = call(capsys, "buffer", "export", "--state", card, "--format", "parquet", "--out", out)
    table = parquet.read_table(out).to_pylist()
    assert (code, len(table)) == (0, 3 * SAMPLES)
    assert [r["value_number"] for r in table[:3]] == [230.5, None, None]
    assert [r["value_text"] for r in table[:3]] == [None, "True", None]


def test_verify_of_a_sound_ring(capsys: pytest.CaptureFixture[str], card: Path) -> None:
    code, lines = call(capsys, "buffer", "verify", "--state", unlocked(card))
    assert (code, lines[-1]) == (0, f"OK {3 * SAMPLES} readings, all sound")
    code, lines = call(capsys, "buffer", "verify", "--json", "--state", card / "ring")
    found = json.loads("\n".join(lines))
    assert (code, found["ok"], found["readings"]) == (0, True, 3 * SAMPLES)


def test_verify_names_the_damage(capsys: pytest.CaptureFixture[str], card: Path) -> None:
    path = segment(unlocked(card))
    image = bytearray(path.read_bytes())
    at = image.index(b"voltage", 9_000)
    image[at : at + 7] = b"VOLTAGE"
    path.write_bytes(image)
    code, lines = call(capsys, "buffer", "verify", "--state", card)
    assert code == 1
    assert lines[0].startswith(f"damaged  {path.name} at ")
    assert lines[-1].startswith(f"PROBLEM ring.damaged: {3 * SAMPLES - 3} readings are sound")
    code, lines = call(capsys, "buffer", "verify", "--json", "--state", card)
    found = json.loads("\n".join(lines))
    (gap,) = found["gaps"]
    assert (gap["why"], gap["last"] - gap["first"]) == ("damaged", 2)
    place = int(found["damaged"][0].split(" at ")[1].split(":")[0])
    assert place <= at


def test_windows_of_what_was_given_up_are_shown_and_verified(
    capsys: pytest.CaptureFixture[str], card: Path
) -> None:
    coarse = CoarseRing.open(card / "ring-coarse", 1 << 20)
    for first in (0, 100):
        span = Span(first, first + 99)
        assert coarse.put(Group("ab" * 16, span, (span,), (b"head", bytes(range(256)))))
    unlocked(card)
    code, lines = call(capsys, "buffer", "status", "--state", card)
    assert code == 0
    assert any(line.startswith("reduced  200 readings to windows, ") for line in lines)
    assert call(capsys, "buffer", "verify", "--state", card)[0] == 0
    file = card / "ring-coarse" / "000000.seg"
    content = bytearray(file.read_bytes())
    content[200:210] = b"\xff" * 10
    file.write_bytes(content)
    code, lines = call(capsys, "buffer", "verify", "--state", card)
    assert code == 1
    assert lines[0].startswith("damaged  ring-coarse/000000.seg at 128: ")


def test_verify_of_a_ring_without_its_header(
    capsys: pytest.CaptureFixture[str], card: Path
) -> None:
    (unlocked(card) / "ring" / "ring.head").write_bytes(bytes(8192))
    code, lines = call(capsys, "buffer", "verify", "--state", card)
    assert code == 1
    assert f"{3 * SAMPLES} readings are sound" in lines[-1]


def test_verify_waits_for_no_daemon(capsys: pytest.CaptureFixture[str], card: Path) -> None:
    ring = Ring.open(card / "other", 1024 * 1024)
    code, lines = call(capsys, "buffer", "verify", "--state", card / "other")
    assert (code, lines[-1][:21]) == (4, "PROBLEM store.in-use:")
    ring.close()


@pytest.mark.parametrize("damage", [False, True])
def test_not_a_byte_of_the_card_changes(
    capsys: pytest.CaptureFixture[str], card: Path, damage: bool
) -> None:
    if damage:
        path = segment(card)
        path.write_bytes(bytes(600) + path.read_bytes()[600:])
        (card / "ring" / "ring.head").unlink()
    before = fingerprint(unlocked(card))
    for command in ("status", "peek", "export", "verify"):
        call(capsys, "buffer", command, "--state", card)
    assert fingerprint(card) == before


@pytest.mark.parametrize("command", ["peek", "export", "verify"])
def test_where_there_is_no_ring(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    code, lines = call(capsys, "buffer", command, "--state", tmp_path)
    assert (code, lines[-1][:20]) == (1, "PROBLEM ring.absent:")
    assert list(tmp_path.iterdir()) == []
