"""The command line: exit codes, verdict last, JSON with a schema, nothing heavy on the way to `status`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lamppost.cli.main import exit_code, main
from lamppost.errors import HubError, LamppostError, SiteError, StoreError, TrustError
from lamppost.model import Span
from lamppost.ring import Record, Ring

CASES = Path(__file__).resolve().parents[2] / "cases"
HEAVY = (
    "cryptography", "pydantic", "paho", "aiomqtt", "pymodbus", "serial", "httpx", "rich", "starlette", "uvicorn",
    "tuf", "segno", "pkcs11", "lamppost.diagnosis",
)  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as left:
        code = int(left.code or 0)
    return code, capsys.readouterr().out.splitlines()


def test_config_check_names_all_problems_and_exits_with_seven(
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES / "site-many-mistakes"
    code, lines = call(capsys, "config", "check", case / "site.toml")
    assert code == 7
    assert lines[:-1] == (case / "expected.txt").read_text().splitlines()
    assert lines[-1].startswith("PROBLEM 7 problems in ")


def test_config_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = call(
        capsys, "config", "check", "--json", CASES / "site-many-mistakes" / "site.toml"
    )
    found = json.loads("\n".join(lines))
    assert (code, found["schema"], found["ok"]) == (7, "lamppost.config-check/1", False)
    assert found["problems"][2] == {
        "key": "uplink.hosst",
        "value": "'hub.city'",
        "reason": "unknown key",
        "nearest": "host",
    }


def test_a_good_site_ends_with_ok(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        '[site]\ngateway = "gw-1"\nhub = "h"\n[uplink]\nhost = "h"\n'
        '[[link]]\nname = "u"\nkind = "serial"\nport = "/dev/ttyAMA0"\n'
        '[[device]]\nname = "air"\nmodel = "pms5003"\nlink = "u"\n'
    )
    assert call(capsys, "config", "check", site) == (0, [f"OK {site}: 1 link, 1 device"])


def test_a_site_file_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone.toml"
    words = ("sensors", "read", "meter", "--site", gone, "--socket", tmp_path / "no.sock")
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 7
    said = capsys.readouterr()
    assert f"{gone} cannot be read: No such file" in said.err
    assert said.out.splitlines()[-1] == "PROBLEM config.missing: name it: --site FILE"


def test_status_without_a_daemon(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, lines = call(capsys, "status", "--socket", tmp_path / "none.sock")
    assert code == 3
    assert lines[-1] == "PROBLEM daemon.not-running; type: lamppost doctor host"


def test_buffer_status_without_a_daemon_reads_the_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ring = Ring.open(tmp_path / "ring", 1024 * 1024)
    assert ring.append([Record(3, b"abc"), Record(2, b"de")]) == Span(0, 4)
    ring.close()
    where = ("--state", tmp_path, "--socket", tmp_path / "none.sock")
    code, lines = call(capsys, "buffer", "status", "--json", *where)
    found = json.loads("\n".join(lines))
    assert code == 0
    assert found["schema"] == "lamppost.buffer-status/1"
    assert (found["via"], found["appended"], found["waiting"]) == ("direct", 5, 5)
    code, lines = call(capsys, "buffer", "status", *where)
    assert (code, lines[-1]) == (0, "OK")


def test_buffer_status_where_there_is_no_ring(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ("--state", tmp_path, "--socket", tmp_path / "none.sock")
    code, lines = call(capsys, "buffer", "status", *where)
    assert (code, lines[-1][:20]) == (1, "PROBLEM ring.absent:")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SiteError("", code="config.invalid", hint=""), 7),
        (TrustError("", code="trust.not-enrolled", hint=""), 8),
        (TrustError("", code="envelope.signature", hint=""), 8),
        (HubError("", code="daemon.not-running", hint=""), 3),
        (StoreError("", code="store.in-use", hint=""), 4),
        (StoreError("", code="daemon.no-permission", hint=""), 5),
        (HubError("", code="daemon.no-answer", hint=""), 6),
        (LamppostError("", code="ring.absent", hint=""), 1),
    ],
)
def test_exit_codes(error: LamppostError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--socket", "/nowhere"]])
def test_nothing_heavy_is_imported_on_the_way_to_status(arguments: list[str]) -> None:
    script = (
        "import sys; from lamppost.cli.main import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"
