"""The line behind a real terminal, with pyserial as the unchanged client above it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import serial

from hwsim.device import Device
from hwsim.line import Line
from hwsim.modbus import RtuUnit, framed

REQUEST = framed(1, bytes.fromhex("03 0000 0014"))
ANSWER_SIZE = 5 + 40


def unit(number: int = 1, delay: float = 0.0) -> RtuUnit:
    return RtuUnit(number, {at: 1000 + at for at in range(125)}, delay=delay)


@pytest.fixture()
def path(tmp_path: Path) -> Path:
    return tmp_path / "dev" / "rs485-1"


def test_a_request_is_answered_and_nothing_is_early(path: Path) -> None:
    with (
        Line(path, 9600, devices=[unit()]) as line,
        serial.Serial(str(path), 9600, timeout=5) as port,
    ):
        began = time.monotonic()
        port.write(REQUEST)
        answer = port.read(ANSWER_SIZE)
        took = time.monotonic() - began
        assert answer == framed(
            1, bytes((3, 40)) + b"".join((1000 + at).to_bytes(2, "big") for at in range(20))
        )
        # The request, the silence after it, the answer: 60.2 ms at 9600 baud.
        assert took >= (8 + 3.5 + ANSWER_SIZE) * 10 / 9600
        stats = line.stats()
        assert (stats.frames, stats.from_driver, stats.to_driver) == (1, 8, ANSWER_SIZE)
        assert stats.requests == {1: 1}
        assert stats.violations == 0
        assert line.opened()


def test_a_driver_that_does_not_wait_is_caught(path: Path) -> None:
    with (
        Line(path, 1200, devices=[unit()]) as line,
        serial.Serial(str(path), 1200, timeout=5) as port,
    ):
        for _ in range(3):
            port.write(framed(1, bytes.fromhex("03 0000 0001")))
            assert len(port.read(7)) == 7
        assert line.wait(lambda stats: stats.frames == 3)
        stats = line.stats()
        assert stats.violations == 2
        assert stats.smallest_gap is not None
        assert 0 <= stats.smallest_gap < line.silence


def test_the_wrong_speed_gives_no_answer(path: Path) -> None:
    with (
        Line(path, 9600, devices=[unit()]) as line,
        serial.Serial(str(path), 19200, timeout=0.2) as port,
    ):
        port.write(REQUEST)
        assert port.read(1) == b""
        assert line.wait(lambda stats: stats.frames == 1)
        port.baudrate = 9600
        port.timeout = 5
        port.write(REQUEST)
        assert len(port.read(1)) == 1


def test_unplugging_hangs_up_and_the_path_comes_back(path: Path) -> None:
    with Line(path, 115200, devices=[unit()]) as line:
        with serial.Serial(str(path), 115200, timeout=1) as port:
            line.unplug()
            assert not os.path.lexists(path)
            assert not line.opened()
            with pytest.raises((serial.SerialException, OSError)):
                port.read(1)
        with pytest.raises(serial.SerialException):
            serial.Serial(str(path), 115200)
        line.plug()
        with serial.Serial(str(path), 115200, timeout=5) as port:
            port.write(REQUEST)
            assert len(port.read(ANSWER_SIZE)) == ANSWER_SIZE
    assert not os.path.lexists(path)


def test_unplugging_in_the_middle_of_an_answer_loses_the_rest(path: Path) -> None:
    with (
        Line(path, 1200, devices=[unit()]) as line,
        serial.Serial(str(path), 1200, timeout=5) as port,
    ):
        port.write(REQUEST)
        assert port.read(1)
        line.unplug()
        with pytest.raises((serial.SerialException, OSError)):
            port.read(ANSWER_SIZE)


def test_what_comes_while_the_port_is_closed_is_lost(path: Path) -> None:
    with Line(path, 115200) as line:
        line.inject(b"lost")
        assert line.wait(lambda stats: stats.lost == 4)
        with serial.Serial(str(path), 115200, timeout=5) as port:
            line.inject(b"heard")
            assert port.read(5) == b"heard"


def test_devices_come_and_go_while_the_line_runs(path: Path) -> None:
    with Line(path, 115200) as line, serial.Serial(str(path), 115200, timeout=5) as port:
        device: Device = unit()
        line.attach(device)
        port.write(REQUEST)
        assert len(port.read(ANSWER_SIZE)) == ANSWER_SIZE
        line.detach(device)
        assert line.devices == ()
        port.timeout = 0.1
        port.write(REQUEST)
        assert port.read(1) == b""


def test_noise_damages_answers_until_it_stops(path: Path) -> None:
    with (
        Line(path, 115200, devices=[unit()], seed=3) as line,
        serial.Serial(str(path), 115200, timeout=0.5) as port,
    ):
        line.set_noise(0.05)
        port.write(REQUEST)
        port.read(ANSWER_SIZE)
        assert line.stats().flipped_bits > 0
        line.set_noise(0.0)
        line.reset_stats()
        port.write(REQUEST)
        assert len(port.read(ANSWER_SIZE)) == ANSWER_SIZE
        assert line.stats().flipped_bits == 0


def test_an_idle_line_costs_next_to_nothing(path: Path) -> None:
    with Line(path, 9600, devices=[unit()]), serial.Serial(str(path), 9600):
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.1


def test_many_lines_run_beside_one_another(tmp_path: Path) -> None:
    lines = [
        Line(tmp_path / f"bus{at}", 19200, devices=[unit()], granularity="fifo8") for at in range(4)
    ]
    for line in lines:
        line.start()
    ports = [serial.Serial(str(line.path), 19200, timeout=5) for line in lines]
    try:
        for _ in range(3):
            for port in ports:
                port.write(REQUEST)
            assert [len(port.read(ANSWER_SIZE)) for port in ports] == [ANSWER_SIZE] * 4
            time.sleep(0.01)
    finally:
        for port, line in zip(ports, lines, strict=True):
            port.close()
            line.close()
    assert [line.stats().frames for line in lines] == [3] * 4
