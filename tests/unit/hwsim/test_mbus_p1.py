"""M-Bus meters and P1 ports: real telegrams served, addressing, read-outs of several frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import serial

from hwsim.line import Line
from hwsim.mbus import ACK, MBusMeter, long, parse, short
from hwsim.p1 import P1Meter, crc16_arc, telegram
from shared_folder import vectors

FRAMES = [row for row in vectors("mbus") if not row["id"].startswith(("mbus-err", "mbus-reject"))]
TELEGRAMS = [
    row
    for row in vectors("dsmr_p1")
    if re.search(r"![0-9A-F]{4}\r\n$", row["input_text"]) and row["input_text"].startswith("/")
]
HEADER = bytes.fromhex("78563412 2423 01 07 55 00 0000")
ONE = long(0x08, 5, 0x72, HEADER + bytes.fromhex("0413 15310000 1f"))
TWO = long(0x08, 5, 0x72, HEADER + bytes.fromhex("0413 16310000"))


def said(meter: MBusMeter, frame: bytes) -> list[bytes]:
    return [answer for _, answer in meter.hear(frame, 0.0)]


def select(pattern: str) -> bytes:
    return long(0x53, 0xFD, 0x52, bytes.fromhex(pattern))


@pytest.mark.parametrize("row", FRAMES, ids=lambda row: str(row["id"]))
def test_captured_frames_are_told_as_they_are(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["input_hex"])
    if parse(frame) is None:
        pytest.skip("no long frame with a right sum")
    meter = MBusMeter([frame])
    assert said(meter, short(0x40, meter.address)) == [ACK]
    assert said(meter, short(0x5B, meter.address)) == [frame]


def test_a_given_primary_address_is_put_into_the_frame() -> None:
    meter = MBusMeter([ONE], address=9)
    assert said(meter, short(0x5B, 5)) == []
    (answer,) = said(meter, short(0x5B, 9))
    assert parse(answer) == (0x08, 9, ONE[6:-2])


def test_the_frame_count_bit_moves_a_read_out_on_and_repeats_it() -> None:
    meter = MBusMeter([ONE, TWO])
    assert said(meter, short(0x40, 5)) == [ACK]
    assert said(meter, short(0x7B, 5)) == [ONE]
    assert said(meter, short(0x7B, 5)) == [ONE]
    assert said(meter, short(0x5B, 5)) == [TWO]
    assert said(meter, short(0x7B, 5)) == [ONE]
    assert said(meter, short(0x40, 5)) == [ACK]
    assert said(meter, short(0x5B, 5)) == [ONE]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("78563412 2423 01 07", True),
        ("ffffffff ffff ff ff", True),
        ("ffff3412 ffff ff ff", True),
        ("7856341f ffff ff ff", True),
        ("7856342f ffff ff ff", False),
        ("785634f2 ffff ff ff", True),
        ("78563412 2523 01 07", False),
        ("78563412 ffff 02 ff", False),
        ("78563412 ffff ff 06", False),
    ],
)
def test_secondary_addressing(pattern: str, matches: bool) -> None:
    meter = MBusMeter([ONE])
    assert said(meter, short(0x5B, 0xFD)) == []
    assert said(meter, select(pattern)) == ([ACK] if matches else [])
    assert said(meter, short(0x5B, 0xFD)) == ([ONE] if matches else [])


def test_a_selection_of_another_meter_ends_ours() -> None:
    meter = MBusMeter([ONE])
    assert said(meter, select("78563412 ffff ff ff")) == [ACK]
    assert said(meter, select("00000000 ffff ff ff")) == []
    assert said(meter, short(0x5B, 0xFD)) == []
    said(meter, select("78563412 ffff ff ff"))
    assert said(meter, short(0x40, 0xFD)) == [ACK]
    assert said(meter, short(0x5B, 0xFD)) == []


def test_broadcasts_damage_and_death() -> None:
    meter = MBusMeter([ONE])
    assert said(meter, short(0x40, 0xFF)) == []
    assert said(meter, short(0x40, 0xFE)) == [ACK]
    assert said(meter, short(0x5B, 5)[:-2] + b"\0\x16") == []
    meter.wrong_sum_every = 2
    assert [parse(said(meter, short(0x5B, 5))[0]) is None for _ in range(4)] == [False, True] * 2
    meter.dead = True
    assert said(meter, short(0x5B, 5)) == []
    with pytest.raises(ValueError, match="long frame"):
        MBusMeter([ONE[:-1]])


def test_two_meters_at_one_pattern_collide_on_the_line(tmp_path: Path) -> None:
    other = long(0x08, 6, 0x72, b"\x79" + HEADER[1:] + bytes.fromhex("0413 15310000"))
    meters = [MBusMeter([ONE]), MBusMeter([other])]
    with (
        Line(tmp_path / "mbus", 2400, bits=11, devices=meters) as line,
        serial.Serial(str(line.path), 2400, timeout=5) as port,
    ):
        port.write(select("ffffffff ffff ff ff"))
        assert len(port.read(1)) == 1
        assert line.wait(lambda stats: stats.collisions == 1)
        port.timeout = 0.05
        port.read(10)
        port.timeout = 5
        port.write(short(0x5B, 6))
        assert port.read(len(other)) == other


@pytest.mark.parametrize("row", TELEGRAMS, ids=lambda row: str(row["id"]))
def test_our_check_agrees_with_captured_telegrams(row: dict[str, Any]) -> None:
    text = row["input_text"].encode("ascii")
    body, check = text[: text.rindex(b"!") + 1], text[text.rindex(b"!") + 1 :].strip()
    right = f"{crc16_arc(body):04X}".encode() == check
    assert right != row["id"].endswith("checksum-invalid")


def test_a_telegram_holds_the_truth_and_its_check() -> None:
    meter = P1Meter(seed=3)
    meter.attached(100.0)
    said_at = meter.frame(107.2)
    truth = meter.truth(107.2)
    text = said_at.decode("ascii")
    assert said_at == telegram(
        "LMP5HWSIM", text.split("\r\n\r\n", 1)[1].split("!")[0].split("\r\n")[:-1]
    )
    assert "0-0:1.0.0(250115120007W)\r\n" in text
    assert f"1-0:1.7.0({truth['power'] / 1000:06.3f}*kW)\r\n" in text
    found = re.search(r"1-0:1\.8\.2\((\d{6}\.\d{3})\*kWh\)", text)
    assert found is not None
    assert float(found[1]) == truth["energy.import"]
    assert int(text[text.index("!") + 1 :].strip(), 16) == crc16_arc(said_at[: text.index("!") + 1])


def test_every_nth_check_is_wrong_on_request() -> None:
    meter = P1Meter()
    meter.attached(0.0)
    meter.wrong_crc_every = 2
    checks = []
    for at in (1.0, 2.0, 3.0, 4.0):
        frame = meter.frame(at)
        checks.append(int(frame[-6:-2], 16) == crc16_arc(frame[:-6]))
    assert checks == [True, False, True, False]


def test_pyserial_hears_a_telegram(tmp_path: Path) -> None:
    meter = P1Meter(period=0.1)
    with (
        Line(tmp_path / "p1", 115200, devices=[meter], half_duplex=False) as line,
        serial.Serial(str(line.path), 115200, timeout=5) as port,
    ):
        port.read_until(b"!")
        heard = port.read_until(b"!") + port.read(6)
    assert any(frame in heard for _, frame in meter.sent)
