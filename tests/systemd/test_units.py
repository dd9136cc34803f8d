"""The units as systemd's own judge sees them: nothing misspelt, and little that a broken-in service could do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
EXPOSURE = {
    "lamppost.service": 1.3,
    "lamppost-hub.service": 1.1,
    "lamppost-hub-enrol.service": 1.1,
    "lamppost-hub-ca.service": 1.1,
    "lamppost-time-servers.service": 3.0,  # root, to install one file
    "lamppost-firstboot.service": 3.0,  # root for a minute: it writes to the boot partition
}


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    command = ["systemd-analyze", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copies(folder: Path) -> list[Path]:
    """Units that start a program which is here: only the rest of each is judged."""
    found = []
    for path in [p for kind in ("service", "timer", "path") for p in UNITS.glob(f"*.{kind}")]:
        text = re.sub(r"(?m)^(Exec\w+=-?)/opt/lamppost/bin/\S+", r"\1/bin/true", path.read_text())
        (folder / path.name).write_text(text)
        found.append(folder / path.name)
    return found


def test_no_key_is_misspelt(tmp_path: Path) -> None:
    units = copies(tmp_path)
    words = ("verify", "--recursive-errors=no", "--man=no")
    judged = analyze(*words, *map(str, units))
    assert judged.returncode == 0, judged.stderr
    wrong = tmp_path / "lamppost.service"
    wrong.write_text(wrong.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert analyze(*words, str(wrong)).returncode != 0


def test_every_unit_has_a_bound() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == set(EXPOSURE)


@pytest.mark.parametrize("name", EXPOSURE)
def test_exposure(name: str) -> None:
    judged = analyze("security", "--offline=true", "--no-pager", str(UNITS / name))
    found = re.search(r"exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert found is not None, judged.stderr
    assert float(found[1]) <= EXPOSURE[name]


def test_units_start_commands_that_exist() -> None:
    from lamppost.cli.main import COMMANDS as GATEWAY
    from lamppost_hub.cli.main import COMMANDS as HUB

    started = [
        found.groups()
        for path in UNITS.glob("*.service")
        for found in re.finditer(r"(?m)^ExecStart=/opt/lamppost/bin/(\S+) (\S+)", path.read_text())
    ]
    assert (
        len(started) == len(EXPOSURE) - 1
    )  # time servers are installed by the system's own programs
    for program, command in started:
        assert command in {"lamppost": GATEWAY, "lamppost-hub": HUB}[program]
