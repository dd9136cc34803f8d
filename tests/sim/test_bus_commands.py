"""`bus` and `sensors` as a technician types them, on a simulated line without a daemon."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.line import Line
from hwsim.meters import Sdm120, Sdm630
from hwsim.modbus import RtuUnit
from hwsim.wiring import SecondMaster
from sim.diagnosis.gateway import Desk


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    units = [RtuUnit(1, Sdm630(seed=1)), RtuUnit(2, Sdm120(seed=2)), RtuUnit(4, Sdm120(seed=4))]
    with Line(tmp_path / "a", 9600, devices=units) as made:
        yield made


def test_a_scan_names_who_is_there_and_writes_a_site_that_can_be_checked(
    tmp_path: Path, line: Line
) -> None:
    desk, out = Desk(tmp_path), tmp_path / "new.toml"
    told = desk.lamppost("bus", "scan", "--to", "5", "--out", out)
    assert told.code == 0, told.out
    assert "a/1  is sdm630" in told.lines
    assert "a/4  is sdm120" in told.lines
    assert "  configured as m1 (sdm630)" in told.lines
    assert "  serial number 21000004" in told.lines
    assert told.verdict.startswith(
        "OK 3 units answer, 1 of them not in the site file; type: lamppost config check"
    )
    assert desk.lamppost("config", "check", out).code == 0
    assert 'name = "sdm120-4"' in out.read_text()
    assert line.stats().collisions == 0


@pytest.mark.long
def test_list_raw_and_read_without_a_daemon(tmp_path: Path, line: Line) -> None:
    desk = Desk(tmp_path)
    listed = desk.lamppost("bus", "list")
    assert (listed.code, listed.lines[0]) == (0, "via: direct")
    assert "a  modbus-rtu 9600 8N1" in listed.lines
    raw = desk.lamppost("bus", "raw", "--link", "a", "--crc", "01 04 00 00 00 02")
    assert raw.code == 0
    assert raw.verdict.startswith("OK 9 bytes after ")
    refused = desk.lamppost("bus", "raw", "--link", "a", "--crc", "01 06 00 00 00 02")
    assert (refused.code, refused.verdict.split(":")[0]) == (1, "PROBLEM link.read-only")
    silent = desk.lamppost("bus", "raw", "--link", "a", "--crc", "09 04 00 00 00 02")
    assert silent.code == 6
    assert line.stats().requests.get(1, 0) == 1  # the refused one never went out


@pytest.mark.long
def test_soak_sniff_sensors_and_probe(tmp_path: Path, line: Line) -> None:
    desk = Desk(tmp_path)
    soaked = desk.lamppost("bus", "soak", "--for", "3s", "--json")
    assert soaked.code == 0
    assert {u["device"]: u["silent"] + u["damaged"] for u in soaked.json()["units"]} == {
        "m1": 0,
        "m2": 0,
    }
    read = desk.lamppost("sensors", "read", "m1", "--json")
    assert 200 < read.json()["samples"][0]["voltage.l1"]["value"] < 260
    assert read.json()["samples"][0]["voltage.l1"]["unit"] == "V"
    assert desk.lamppost("sensors", "test", "m1").code == 0
    assert desk.lamppost("sensors", "info", "m1").verdict.startswith("OK 3 points")
    assert desk.lamppost("sensors", "list").verdict.startswith("OK 2 devices")
    assert desk.lamppost("bus", "probe", "m9").code == 2
    line.attach(SecondMaster())
    sniffed = desk.lamppost("bus", "sniff", "--for", "1s", "--ndjson")
    rows = [json.loads(row) for row in sniffed.lines]
    assert rows
    assert any(row["frames"] for row in rows)


@pytest.mark.long
def test_swap_and_retest(tmp_path: Path) -> None:
    """Nobody answers; the technician changes the wires and presses Enter; then all is well."""
    desk = Desk(tmp_path)
    with Line(tmp_path / "a", 9600, devices=[]) as line:
        master, other = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "lamppost.cli", "bus", "probe", "--retest"],
            stdin=other, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=desk.env, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        said: list[str] = []
        _until(process.stdout, said, "press Enter")
        assert any("bus.line-silent" in row for row in said)
        for unit in (RtuUnit(1, Sdm630(seed=1)), RtuUnit(2, Sdm120(seed=2))):
            line.attach(unit)
        os.write(master, b"\n")
        _until(process.stdout, said, "press Enter")
        os.write(master, b"q\n")
        rest = process.stdout.read()
        assert process.wait(20) == 0, rest
        process.stdout.close()
        os.close(master)
        os.close(other)
    assert any(row.startswith("OK 2 devices on a asked") for row in said)


def _until(stream: object, said: list[str], words: str) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        row = stream.readline()  # type: ignore[attr-defined]
        said.append(row)
        if words in row:
            return
    raise AssertionError(said)
