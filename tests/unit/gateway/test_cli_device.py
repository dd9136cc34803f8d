"""`lamppost device`: what each command prints, and that decoding is quiet whatever comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamppost.cli.captured import _FAMILIES, answers
from lamppost.cli.main import main
from lamppost_drivers.library import LIBRARY

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
HEX = st.binary(max_size=80).map(bytes.hex)
ROWS = st.fixed_dictionaries(
    {"family": st.sampled_from(sorted(_FAMILIES)) | JSON,
     "model": st.sampled_from([*LIBRARY, "SCD4x", "SEN5x humidity", "SHDLC framing", "BME280", "BTHome"]) | JSON},
    optional={
        "id": JSON, "input_hex": HEX | JSON, "key_hex": HEX | JSON, "input_kind": JSON, "request_hex": HEX,
        "input_text": st.text(max_size=40) | JSON | st.lists(
            st.fixed_dictionaries({"start": st.integers(), "registers_hex": HEX}), max_size=3
        ).map(lambda blocks: json.dumps({"blocks": blocks})),
        "adv": JSON | st.fixed_dictionaries({"service_data": st.dictionaries(
            st.just("0000fcd2-0000-1000-8000-00805f9b34fb"), HEX)}),
        "aux": JSON | st.fixed_dictionaries({}, optional={
            "start": st.integers(-1, 70000), "request_hex": HEX, "scale": JSON, "calibration": JSON,
            "data_type": st.sampled_from(["FIXED", "UINT32", "STRING", "FLOAT64-IEEE"]),
            "byte_order": st.sampled_from(["AB", "ABCD", "DCBA"])}),
    },
)  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    return code, capsys.readouterr().out.splitlines()


def called_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, lines = call(capsys, *arguments, "--json")
    return code, json.loads("\n".join(lines))


@settings(max_examples=300, deadline=None, database=None)
@given(ROWS | JSON)
def test_no_row_brings_a_traceback_or_a_driver_bug(row: object) -> None:
    line = json.dumps(row).encode()
    found = answers(line, LIBRARY.find)
    assert "readings" in found or "refused" in found
    assert found.get("refused") != "device.driver-error", found
    json.dumps(found, allow_nan=False)


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_no_line_brings_a_traceback(line: bytes) -> None:
    assert answers(line, LIBRARY.find)["refused"] == "device.malformed-row"


def test_deep_and_long_lines_are_refused() -> None:
    for line in (b"[" * 100_000, b'{"a":' * 50_000, b" " * 2_000_000, b"9" * 10_000):
        assert answers(line, LIBRARY.find)["refused"] == "device.malformed-row"


def test_search_show_and_their_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = call(capsys, "device", "search", "Eastron energy.import")
    assert code == 0
    assert any(line.startswith("sdm630 ") for line in lines)
    assert lines[-1].startswith("OK ")
    assert max(map(len, lines)) <= 80
    assert (
        called_json(capsys, "device", "search", "sdm630")[1]["schema"] == "lamppost.device-search/1"
    )
    assert call(capsys, "device", "search", "no-such-thing")[0] == 1
    code, lines = call(capsys, "device", "show", "sdm630")
    assert max(map(len, lines)) <= 80
    assert any("voltage.l1 " in line and "input 0" in line for line in lines)
    code, found = called_json(capsys, "device", "show", "pms5003")
    assert (code, found["schema"], found["model"]) == (0, "lamppost.device-show/1", "pms5003")


def test_an_unknown_model_exits_with_seven_and_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, lines = call(capsys, "device", "show", "sdm631")
    assert code == 7
    assert lines[-1].startswith("PROBLEM device.unknown-model: did you mean sdm630")


def test_decode_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = call(capsys, "device", "decode", "a02yyuw", "ff03e8ea")
    assert code == 0
    assert lines[0].split() == ["distance", "1", "m", "good"]
    assert lines[-1] == "OK 1 reading, all good"
    code, lines = call(capsys, "device", "decode", "a02yyuw", "ff03e8eb")
    assert (code, lines[-1][:20]) == (1, "PROBLEM device.frame")
    code, found = called_json(capsys, "device", "decode", "sdm630", "43663333", "--at", "0")
    assert found["readings"][0]["point"] == "voltage.l1"


def test_an_answer_of_the_other_table_is_another_quantity(
    capsys: pytest.CaptureFixture[str],
) -> None:
    request, answer = "0103000c00020408", "01030442c800006fb5"  # holding register 12 of an SDM630
    code, lines = call(capsys, "device", "decode", "sdm630", answer, "--request", request)
    assert code == 1
    assert lines[-1].startswith("PROBLEM none of the model's points")


def test_registers_without_their_place_are_told_where_the_points_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, lines = call(capsys, "device", "decode", "sdm120", "43663333")
    assert code == 1
    assert lines[0].startswith("the points of sdm120 are in registers 0 to ")
    assert lines[-1].startswith("PROBLEM device.no-address: ")
    assert "--at N" in lines[-1]
    code, lines = call(capsys, "device", "decode", "sdm120", "43663333", "--at", "9000")
    assert (code, len(lines)) == (1, 2)
    assert lines[0].startswith("the points of sdm120 are in registers 0 to ")


def test_lint_is_for_maps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    driver = tmp_path / "puck_drivers.py"
    driver.write_text("LIBRARY = {}\n")
    code, lines = call(capsys, "device", "lint", driver)
    assert code == 7
    assert "selftest" in lines[0]


def test_new_lint_and_selftest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "device", "new", "acme-m3")[0] == 0
    assert call(capsys, "device", "new", "acme-m3")[0] == 2, "an existing file is never overwritten"
    assert call(capsys, "device", "lint", "acme-m3.toml") == (
        0, ["OK 1 map; next: lamppost device selftest acme-m3.toml"])  # fmt: skip
    assert call(capsys, "device", "selftest", "acme-m3.toml")[0] == 0
    text = (tmp_path / "acme-m3.toml").read_text()
    wrong = (
        text.replace("baud", "boud").replace("scale =", "scael =").replace("[0, 300]", "[300, 0]")
    )
    (tmp_path / "wrong.toml").write_text(wrong)
    code, lines = call(capsys, "device", "lint", "wrong.toml")
    assert code == 7
    assert lines[:-1] == [
        "wrong.toml: serial.boud: unknown key; did you mean 'baud'?",
        "wrong.toml: point.[energy.import].scael: unknown key; did you mean 'scale'?",
        "wrong.toml: point.[voltage.l1]: range = [low, high] is needed, low below high",
    ]
    (tmp_path / "off.toml").write_text(text.replace("230.2", "231.2"))
    code, lines = call(capsys, "device", "selftest", "off.toml")
    assert (code, lines[-1]) == (1, "PROBLEM 1 of 1 models fail; first: acme-m3")
