"""`bus` as a technician types it for meters behind a converter with a network port, with a daemon and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.mbus import MBusMeter, long
from hwsim.mbus_tcp import MBusTcpServer
from sim.diagnosis.gateway import Desk

SITE = """\
[site]
gateway = "gw-1"
hub = "hub.city"
[time]
unsynced = "send"
[ring]
size = "2MiB"
[uplink]
host = "127.0.0.1"
port = 9
[[link]]
name = "c"
kind = "mbus-tcp"
host = "127.0.0.1"
port = {port}
timeout = "200ms"
[[device]]
name = "cellar"
model = "mbus-water"
link = "c"
unit = 1
every = "1s"
[[device]]
name = "roof"
model = "mbus-water"
link = "c"
secondary = "22222222"
every = "1s"
"""


def telegram(number: str, medium: int, address: int) -> bytes:
    """Variable data (CI 72h): header with number, maker LUG, medium; 1 m3."""
    header = bytes.fromhex(number)[::-1] + bytes.fromhex("a732") + bytes((1, medium))
    return long(0x08, address, 0x72, header + bytes(4) + b"\x04\x13\xe8\x03\x00\x00")


@pytest.fixture
def converter() -> Iterator[MBusTcpServer]:
    meters = [
        MBusMeter([telegram("11111111", 7, 1)]),
        MBusMeter([telegram("22222222", 7, 0)]),
        MBusMeter([telegram("22222789", 4, 0)]),  # begins as its neighbour does, and is as new
        MBusMeter([telegram("00000000", 7, 9)], secondary=bytes(8)),
    ]
    with MBusTcpServer(meters) as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, converter: MBusTcpServer) -> Desk:
    return Desk(tmp_path, SITE.replace("{port}", str(converter.port)))


def test_list_raw_sniff_and_what_makes_no_sense(desk: Desk, converter: MBusTcpServer) -> None:
    listed = desk.lamppost("bus", "list")
    assert (listed.code, listed.lines[1]) == (0, "c  mbus-tcp")
    assert f"  127.0.0.1:{converter.port}" in listed.lines
    raw = desk.lamppost("bus", "raw", "--link", "c", "10 40 01 41 16", "--json")
    assert (raw.code, raw.json()["heard"]) == (0, "e5")
    write = desk.lamppost("bus", "raw", "--link", "c", "68 03 03 68 53 01 50 a4 16")
    assert (write.code, write.verdict.split(":")[0]) == (1, "PROBLEM link.read-only")
    sniffed = desk.lamppost("bus", "sniff", "--for", "300ms", "--link", "c")
    assert sniffed.verdict == "OK silence: 0 bytes in 0.3 s on c"


@pytest.mark.long
def test_a_scan_finds_meters_by_number_and_by_address(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "new.toml"
    scanned = desk.lamppost("bus", "scan", "--to", "1", "--out", out, "--json")
    assert scanned.code == 0, scanned.out + scanned.err
    rows = {row["number"]: row for row in scanned.json()["links"]["c"] if row["number"]}
    assert set(rows) == {"11111111", "22222222", "22222789", "00000000"}
    assert (rows["22222789"]["model"], rows["22222789"]["maker"]) == ("mbus-heat", "LUG")
    text = out.read_text()
    assert 'model = "mbus-heat"\nlink = "c"\nsecondary = "22222789"' in text
    assert 'model = "mbus-water"\nlink = "c"\nunit = 9' in text
    assert text.count("[[device]]") == 4  # two were there
    assert desk.lamppost("config", "check", out).code == 0


@pytest.mark.long
def test_soak_counts_and_probe_with_the_daemon_borrows_the_bus(
    desk: Desk, converter: MBusTcpServer
) -> None:
    soaked = desk.lamppost("bus", "soak", "--for", "2s", "--json")
    assert soaked.code == 0, soaked.out + soaked.err
    assert {u["device"]: u["good"] == u["asked"] > 0 for u in soaked.json()["units"]} == {
        "cellar": True,
        "roof": True,
    }
    with desk.running():
        desk.wait(lambda: set(desk.states().values()) == {"ok"}, "both are read")
        probed = desk.lamppost("bus", "probe", "--json")
        told = probed.json()
        assert (probed.code, told["via"], told["findings"]) == (0, "daemon", [])
        converter.meters[1].dead = True  # type: ignore[attr-defined]
        desk.wait(lambda: desk.states()["roof"] == "dead", "one is given up")
        found = desk.lamppost("doctor", "bus", "--json").json()
        assert [(f["id"], f["subject"]) for f in found["findings"]] == [
            ("bus.meter-silent", "roof")
        ]
        converter.hung = True
        lost = desk.lamppost("bus", "probe", "--json")
        assert [f["id"] for f in json.loads(lost.out)["findings"]] == ["bus.mbus-silent"]


def test_commands_that_make_no_sense_for_a_kind_say_what_does(tmp_path: Path) -> None:
    links = (
        '[[link]]\nname = "t"\nkind = "modbus-tcp"\nhost = "127.0.0.1"\n[[device]]\nname = "m"\n'
        'model = "sdm630"\nlink = "t"\nunit = 1\n[[link]]\nname = "u"\nkind = "serial"\nport = "{folder}/u"\n'
        '[[device]]\nname = "air"\nmodel = "pms5003"\nlink = "u"\n'
    )
    desk = Desk(tmp_path, SITE.partition("[[link]]")[0] + links)
    for words, instead in (
        (("sniff", "--link", "t"), "lamppost bus soak --link t"),
        (("scan", "--link", "u"), "lamppost bus probe --link u"),
        (("soak", "--link", "u"), "lamppost bus probe --link u"),
        (("soak", "air"), "lamppost bus probe --link u"),
    ):
        refused = desk.lamppost("bus", *words)
        assert refused.code == 2
        assert instead in refused.err.replace("\n", " ")
