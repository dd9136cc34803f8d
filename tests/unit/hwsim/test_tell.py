"""`lamppost-sim tell`: words on a command line to what the control socket is asked, and its answer to words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hwsim.cabinet import Cabinet
from hwsim.cli import main
from hwsim.site import Control
from hwsim.tell import request

PLAN: dict[str, Any] = {
    "line": [{"name": "rtu", "unit": [{"unit": 2, "model": "registers", "registers": {"0": 7}}]}]
}


def test_a_line_a_unit_and_named_values_as_in_a_scenario_file() -> None:
    assert request(["rs485-1"]) == {"line": "rs485-1"}
    assert request(["rs485-1", "2"]) == {"line": "rs485-1", "unit": 2}
    assert request(["i2c-1", "0x44"]) == {"line": "i2c-1", "unit": 0x44}
    assert request(["ble-1", "C0:FF:EE:00:00:01"])["unit"] == "C0:FF:EE:00:00:01"
    assert request(["a", "bit_error_rate=0.01"]) == {"line": "a", "bit_error_rate": 0.01}
    assert request(["a", "hex=010203"]) == {"line": "a", "hex": "010203"}
    with pytest.raises(ValueError, match="'3' is too much"):
        request(["a", "2", "3"])


@contextmanager
def listening(folder: Path, control: Control) -> Iterator[None]:
    """A control socket that answers one request."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "sim.sock"))
        door.listen()

        def serve() -> None:
            line, _ = door.accept()
            with line, line.makefile("rb") as asked:
                line.sendall(json.dumps(control.answer(asked.readline())).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


def told(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str]:
    code = main(["tell", *words, "--at", str(folder)])
    return code, capsys.readouterr().out


def test_it_does_what_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Cabinet(PLAN, tmp_path) as cabinet:
        control = Control(cabinet)
        with listening(tmp_path, control):
            assert told(capsys, tmp_path, "unplug", "rtu") == (0, "OK unplug rtu\n")
        assert not (tmp_path / "rtu").exists()
        (tmp_path / "sim.sock").unlink()
        with listening(tmp_path, control):
            assert told(capsys, tmp_path, "silence", "rtu", "2")[0] == 0
        assert cabinet.unit("rtu", 2).faults.dead


def test_wrong_words_are_refused_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cabinet(PLAN, tmp_path) as cabinet:
        for words, said in (
            (["unplug", "rtx"], "no line 'rtx': there are rtu"),
            (["unplug"], "unplug() missing 1 required positional argument: 'line'"),
            (["unplgu", "rtu"], "do is one of unplug, plug"),
        ):
            with listening(tmp_path, Control(cabinet)):
                code, answer = told(capsys, tmp_path, *words)
            assert code == 2
            assert said in answer
            (tmp_path / "sim.sock").unlink()


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told(capsys, tmp_path, "unplug", "rtu")
    assert code == 1
    assert "no cabinet answers at" in said
    assert "--at" in said
