"""What a scenario's events can do to a cabinet, word by word, without a process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwsim.cabinet import Cabinet, SiteFileError
from hwsim.i2c import Nack
from hwsim.replay import Answers, Faulty, Frames, I2cAnswers
from hwsim.site import Control, Script

PLAN: dict[str, Any] = {
    "line": [
        {"name": "rtu", "unit": [{"unit": 1, "model": "registers", "registers": {"0": 7}}]},
        {"name": "mbus", "form": "8E1", "mbus": [
            {"address": 5, "repeat": 3, "frames": ["68151568080172785634122d2c0107050000000413153100005216"]}
        ]},
        {"name": "uart", "sensor": [{"model": "frames", "frames": ["0102030405"]}]},
    ],
    "i2c": [{"number": 1, "device": [{"address": 0x44, "model": "sht4x"}]}],
    "gpio": [{"number": 0, "pulse": [{"line": 17, "every": 9.0}]}],
}  # fmt: skip


@pytest.fixture()
def cabinet(tmp_path: Path) -> Iterator[Cabinet]:
    with Cabinet(PLAN, tmp_path) as made:
        yield made


def do(control: Control, **words: Any) -> dict[str, Any]:
    return control.answer(json.dumps(words).encode())


def test_any_device_falls_silent_and_speaks_again(cabinet: Cabinet) -> None:
    control = Control(cabinet)
    states: dict[tuple[str, int | None], Callable[[], bool]] = {
        ("rtu", 1): lambda: cabinet.unit("rtu", 1).faults.dead,
        ("mbus", 6): lambda: cabinet.faulty("mbus", 6)[0].faults.dead,
        ("uart", None): lambda: cabinet.faulty("uart", None)[0].faults.dead,
        ("i2c-1", 0x44): lambda: 0x44 not in cabinet.board.buses["i2c-1"].devices,
        ("gpio-0", 17): lambda: cabinet.board.pulsers[17].silent,
    }
    for (line, unit), silent in states.items():
        named = {} if unit is None else {"unit": unit}
        assert do(control, do="silence", line=line, **named) == {"ok": True}
        assert silent(), line
        assert do(control, do="revive", line=line, **named) == {"ok": True}
        assert not silent(), line


def test_lines_change_and_buses_stick(cabinet: Cabinet) -> None:
    control = Control(cabinet)
    assert do(control, do="change", line="mbus", baud=300, form="8N1", echo=True) == {"ok": True}
    assert cabinet.lines["mbus"].form == "8N1"
    assert "no 'speed' to change" in do(control, do="change", line="mbus", speed=1)["error"]
    assert do(control, do="stick", line="i2c-1") == {"ok": True}
    assert cabinet.board.buses["i2c-1"].stuck
    assert do(control, do="release", line="i2c-1") == {"ok": True}
    assert do(control, do="fault", line="mbus", unit=7, crc_every=1) == {"ok": True}
    for words in (
        {"do": "stick", "line": "rtu"}, {"do": "off", "line": "rtu"}, {"do": "silence", "line": "none"},
        {"do": "silence", "line": "i2c-1", "unit": 1}, {"do": "silence", "line": "gpio-0", "unit": 1},
        {"do": "silence", "line": "mbus", "unit": 8}, {"do": "unplug", "line": "i2c-1"},
    ):  # fmt: skip
        assert do(control, **words)["ok"] is False, words


def test_an_event_names_what_is_there(tmp_path: Path) -> None:
    event = {"at": "1s", "do": "silence", "line": "elsewhere"}
    with pytest.raises(SiteFileError, match="elsewhere"):
        Script(Cabinet({**PLAN, "event": [event]}, tmp_path))


def test_bytes_that_are_given_and_what_spoils_them() -> None:
    answers = Answers({"01": ["aa", "bbcc"], "02": "dd"})
    assert [answers.answer(b"\1"), answers.answer(b"\1"), answers.answer(b"\1")] == [
        b"\xaa", b"\xbb\xcc", b"\xaa",
    ]  # fmt: skip
    assert list(answers.hear(b"\x09", 0.0)) == []
    faulty = Faulty(Frames(["00010203"], period=1.0), truncate_every=2, crc_every=3, drop_every=4)
    faulty.attached(0.0)
    said = [faulty.talk(n, 0.001).hex() for n in range(1, 5)]
    assert said == ["00010203", "0001", "00015703", ""]
    chip = I2cAnswers({"fd": ["0102"]})
    with pytest.raises(Nack):
        chip.read(2, 0.0)
    chip.write(b"\xfd", 0.0)
    assert chip.read(2, 0.0) == b"\1\2"
