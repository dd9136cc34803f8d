"""Particle sensors: frames, warm-up, commands and playback; once through a real terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import serial

from hwsim.air import Pms5003, Sds011, plantower
from hwsim.line import Line
from hwsim.wire import Wire
from shared_folder import vectors

FRAMES = [
    row
    for row in vectors("air/plantower")
    if len(row.get("input_hex", "")) == 64 and row.get("input_kind", "").startswith("UART answer")
]


def stream(
    sensor: Pms5003 | Sds011, until: float, said: bytes = b"", at: float = 0.0
) -> list[bytes]:
    """The frames a sensor speaks by `until`; the driver says something at `at`."""
    wire, frames, sent = Wire(half_duplex=False), b"", not said
    wire.attach(sensor, 0.0)
    while ((due := wire.deadline()) is not None and due <= until) or not sent:
        if not sent and (due is None or due > at):
            wire.driver_wrote(said, at, 9600)
            sent = True
            continue
        frames += wire.step(due or 0.0, 9600)
    size = 32 if isinstance(sensor, Pms5003) else 10
    return [frames[start : start + size] for start in range(0, len(frames), size)]


def test_a_plantower_frame_holds_the_truth() -> None:
    sensor = Pms5003(seed=2, warm_up=0.0)
    frames = stream(sensor, 3.5)
    assert len(frames) == 3
    for at, frame in enumerate(frames, 1):
        words = [int.from_bytes(frame[i : i + 2], "big") for i in range(0, 32, 2)]
        assert frame[:4] == b"BM\x00\x1c"
        assert words[15] == sum(frame[:30])
        truth = sensor.truth(at)
        assert words[2:8] == [
            truth[n] for n in ("pm1.cf1", "pm25.cf1", "pm10.cf1", "pm1", "pm25", "pm10")
        ]
        assert words[8] == round(truth["count.pm03"] * 100)


def test_while_the_fan_starts_everything_is_zero() -> None:
    frames = stream(Pms5003(warm_up=2.5), 4.5)
    assert [frame[4:30] == bytes(26) for frame in frames] == [True, True, False, False]


@pytest.mark.parametrize("row", FRAMES[:20], ids=lambda row: str(row["id"]))
def test_the_frame_maker_agrees_with_captured_frames(row: dict[str, Any]) -> None:
    frame = bytes.fromhex(row["input_hex"])
    assert plantower(frame[4:-2]) == frame


def test_given_frames_are_played_back_in_order() -> None:
    sensor = Pms5003(period=0.5)
    frames = [plantower(bytes([number]) * 26) for number in range(3)]
    sensor.replay(frames)
    assert stream(sensor, 10.0) == frames
    sensor.replay(frames, repeat=True)
    assert stream(sensor, 3.1) == frames + frames


def test_passive_mode_speaks_only_when_asked() -> None:
    assert (
        stream(Pms5003(warm_up=0), 3.0, bytes.fromhex("424de100000170"), at=0.5)[0][:6]
        == b"BM\x00\x04\xe1\x00"
    )
    sensor = Pms5003(warm_up=0)
    assert [delay for delay, _ in sensor.hear(bytes.fromhex("424de100000170"), 0.0)] == [0.01]
    assert sensor.next_talk() is None
    ((_, answer),) = sensor.hear(bytes.fromhex("424de200000171"), 5.0)
    assert answer == sensor.frame(5.0)
    assert list(sensor.hear(bytes.fromhex("424de200000172"), 5.0)) == []


def test_after_sleep_the_fan_starts_again() -> None:
    sensor = Pms5003(warm_up=2.0)
    sensor.attached(0.0)
    list(sensor.hear(bytes.fromhex("424de400000173"), 10.0))
    assert sensor.next_talk() is None
    list(sensor.hear(bytes.fromhex("424de400010174"), 20.0))
    assert sensor.next_talk() == pytest.approx(21.0)
    assert sensor.warming_up(21.0)
    assert not sensor.warming_up(22.0)


def test_an_sds011_frame_holds_the_truth() -> None:
    sensor = Sds011(seed=4)
    frame = stream(sensor, 1.5)[0]
    assert (frame[:2], frame[6:8], frame[9:]) == (b"\xaa\xc0", b"\xa1\x60", b"\xab")
    assert sum(frame[2:8]) & 0xFF == frame[8]
    truth = sensor.truth(1.0)
    assert int.from_bytes(frame[2:4], "little") == round(truth["pm25"] * 10)
    assert int.from_bytes(frame[4:6], "little") == round(truth["pm10"] * 10)


def sds_command(*body: int) -> bytes:
    words = bytes(body).ljust(13, b"\0") + b"\xff\xff"
    return b"\xaa\xb4" + words + bytes((sum(words) & 0xFF, 0xAB))


def test_sds011_commands() -> None:
    sensor = Sds011()
    sensor.attached(0.0)
    ((_, mode),) = sensor.hear(sds_command(2, 1, 1), 1.0)
    assert mode[:5] == b"\xaa\xc5\x02\x01\x01"
    assert sensor.next_talk() is None
    ((_, reading),) = sensor.hear(sds_command(4), 2.0)
    assert reading == sensor.frame(2.0)
    ((_, sleeps),) = sensor.hear(sds_command(6, 1, 0), 3.0)
    assert sleeps[:5] == b"\xaa\xc5\x06\x01\x00"
    assert list(sensor.hear(sds_command(4), 4.0)) == []
    assert len(list(sensor.hear(sds_command(6, 1, 1), 5.0))) == 1
    assert list(sensor.hear(sds_command(4)[:-2] + b"\0\xab", 6.0)) == []


def test_pyserial_hears_the_frames(tmp_path: Path) -> None:
    sensor = Pms5003(period=0.1, warm_up=0.0)
    with Line(tmp_path / "uart", 9600, devices=[sensor], half_duplex=False) as line:
        with serial.Serial(str(line.path), 9600, timeout=5) as port:
            heard = port.read(96)
        frames = [frame for _, frame in sensor.sent]
    assert any(frame in heard for frame in frames)
    assert heard in b"".join(frames)
