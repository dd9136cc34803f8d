"""The whole cabinet as its own process, driven over its control socket, with pyserial and pymodbus as clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

import hwsim
from hwsim.cabinet import Cabinet, SiteFileError
from hwsim.modbus import framed

EXAMPLE = Path(hwsim.__file__).parent / "sites" / "cabinet.toml"
FAST = """
[[line]]
name = "bus"
baud = 115200
[[line.unit]]
unit = 1
model = "sdm630"
delay = 0.0
[[line.unit]]
unit = 2
model = "registers"
registers = { 0 = 7 }
[[line]]
name = "uart"
baud = 115200
half_duplex = false
[[line.sensor]]
model = "pms5003"
period = 0.2
[[line]]
name = "p1"
baud = 115200
half_duplex = false
[[line.sensor]]
model = "p1"
[[line]]
name = "mbus"
baud = 2400
form = "8E1"
[[line.mbus]]
address = 4
frames = ["681515680805727856341224230107550000000413153100009416"]
[[tcp]]
name = "tcp"
[[tcp.unit]]
unit = 1
model = "dump"
blocks = [{ start = 10, registers_hex = "00010002" }]
"""


class Running:
    """A cabinet process and a connection to its control socket."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        (folder / "cabinet.toml").write_text(text)
        command = [
            sys.executable,
            "-m",
            "hwsim.site",
            str(folder / "cabinet.toml"),
            "--control",
            str(folder / "c"),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(folder / "c"))
        self._lines = self._socket.makefile("rb")

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self._socket.sendall(json.dumps({"do": do, **words}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def stop(self) -> int:
        self._lines.close()
        self._socket.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def cabinet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("site"), FAST)
    yield running
    running.stop()


def read(path: Path, unit: int = 1, size: int = 9, timeout: float = 5.0) -> bytes:
    with serial.Serial(str(path), 115200, timeout=timeout) as port:
        port.write(framed(unit, bytes.fromhex("04 0046 0002" if unit == 1 else "04 0000 0001")))
        return bytes(port.read(size))


def test_units_answer_and_truth_is_told(cabinet: Running) -> None:
    answer = read(cabinet.folder / "bus")
    assert answer[:3] == b"\x01\x04\x04"
    row = cabinet.ask("answered", line="bus", unit=1)["answered"][-1]
    assert row[1:] == [4, 70, 2]
    truth = cabinet.ask("truth", line="bus", unit=1, at=row[0])["truth"]
    assert struct.unpack(">f", answer[3:7])[0] == pytest.approx(truth["frequency"], rel=1e-6)
    assert cabinet.ask("truth", line="uart")["truth"]["pm25"] > 0
    assert cabinet.ask("truth", line="p1")["truth"]["power"] > 0


def test_unplug_and_plug(cabinet: Running) -> None:
    assert cabinet.ask("unplug", line="bus") == {"ok": True}
    assert not os.path.lexists(cabinet.folder / "bus")
    assert cabinet.ask("plug", line="bus") == {"ok": True}
    assert len(read(cabinet.folder / "bus")) == 9


def test_silence_and_revive(cabinet: Running) -> None:
    cabinet.ask("silence", line="bus", unit=1)
    assert read(cabinet.folder / "bus", timeout=0.1) == b""
    assert len(read(cabinet.folder / "bus", unit=2, size=7)) == 7
    cabinet.ask("revive", line="bus", unit=1)
    assert len(read(cabinet.folder / "bus")) == 9


def test_faults_noise_and_babble(cabinet: Running) -> None:
    assert cabinet.ask("fault", line="bus", unit=1, exception=4) == {"ok": True}
    assert read(cabinet.folder / "bus", size=5)[:3] == b"\x01\x84\x04"
    cabinet.ask("fault", line="bus", unit=1, exception=0)
    cabinet.ask("noise", line="bus", bit_error_rate=0.2)
    read(cabinet.folder / "bus", timeout=0.1)
    assert cabinet.ask("stats", line="bus")["stats"]["flipped_bits"] > 0
    cabinet.ask("noise", line="bus", bit_error_rate=0.0)
    cabinet.ask("babble", line="bus")
    with serial.Serial(str(cabinet.folder / "bus"), 115200, timeout=5) as port:
        assert len(port.read(100)) == 100
    cabinet.ask("hush", line="bus")
    cabinet.ask("reset", line="bus")
    assert cabinet.ask("stats", line="bus")["stats"]["collisions"] == 0


def test_stats_of_everything(cabinet: Running) -> None:
    answer = cabinet.ask("stats")
    assert set(answer["lines"]) == {"bus", "uart", "p1", "mbus"}
    assert answer["lines"]["uart"]["path"] == str(cabinet.folder / "uart")
    assert answer["servers"]["tcp"]["port"] > 0


def test_the_tcp_server_serves_its_dump(cabinet: Running) -> None:
    port = cabinet.ask("stats", line="tcp")["stats"]["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(bytes.fromhex("0001 0000 0006 01 03 000a 0002"))
        assert peer.recv(100).hex() == "0001000000070103" + "0400010002"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "explode"}, "do is one of"),
        ({"do": "unplug", "line": "x"}, "no line 'x': there are bus, uart, p1, mbus, tcp"),
        ({"do": "silence", "line": "bus", "unit": 9}, "no unit 9"),
        ({"do": "fault", "line": "bus", "unit": 1, "sleepy": 1}, "no fault 'sleepy'"),
        ({"do": "unplug"}, "line"),
        ({"do": "noise", "line": "tcp", "bit_error_rate": 0}, "no serial line"),
        ({"do": "truth", "line": "bus", "unit": 2}, "no meter"),
        ({"do": "hush", "line": "bus"}, "bus"),
        ([], "integer"),
    ],
)
def test_bad_requests_are_answered(cabinet: Running, request_: Any, error: str) -> None:
    cabinet._socket.sendall(json.dumps(request_).encode() + b"\n")
    answer = json.loads(cabinet._lines.readline())
    assert answer["ok"] is False
    assert error in answer["error"]


def test_the_example_starts_and_ends_cleanly(tmp_path: Path) -> None:
    running = Running(tmp_path, EXAMPLE.read_text())
    try:
        assert {path.name for path in tmp_path.iterdir()} == {
            "cabinet.toml",
            "c",
            "rs485-1",
            "uart-1",
        }
        assert running.ask("truth", line="rs485-1", unit=2)["truth"]["voltage"] > 200
    finally:
        assert running.stop() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cabinet.toml"}


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ({"lines": []}, "unknown table 'lines'"),
        ({"line": [{"name": "a", "speed": 1}]}, "speed"),
        ({"line": [{"baud": 1}]}, "name"),
        ({"line": [{"name": "a", "unit": [{"unit": 1, "model": "x"}]}]}, "there are sdm630"),
        ({"line": [{"name": "a", "sensor": [{"model": "x"}]}]}, "there are pms5003"),
        ({"line": [{"name": "a", "mbus": [{"frames": ["1040"]}]}]}, "long frame"),
        (
            {"line": [{"name": "a", "unit": [{"unit": 1, "model": "sdm120", "faults": {"x": 1}}]}]},
            "no fault 'x'",
        ),
    ],
)
def test_a_wrong_file_is_named(plan: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match=error):
        Cabinet(plan, tmp_path)
