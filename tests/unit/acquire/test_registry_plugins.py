"""Another distribution brings drivers: installed as pip leaves it, and found by its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from lamppost_drivers.contract import Point
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.uart import talking

ACME = talking(
    "acme-7", "Acme 7", source="its plate", points=(Point("power", "W", 0, 500),),
    framing=FixedFraming(b"A", 3, lambda frame: sum(frame[:2]) == frame[2]), values=lambda frame: {"power": frame[1]},
    evidence=(("by hand", "4164a5", {"power": 100}),), period=1.0,
)
LIBRARY = {"acme-7": ACME, "sdm120": ACME}
"""
CLI = "import sys; from lamppost.cli.main import main; sys.exit(main())"


@pytest.fixture()
def site_packages(tmp_path: Path) -> Path:
    """A folder as pip makes it: a module, and a dist-info with metadata and entry points."""
    folder = tmp_path / "site-packages"
    info = folder / "acme_drivers-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_drivers.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-drivers\nVersion: 1.2\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("acme_drivers.py,,\n")
    (info / "entry_points.txt").write_text("[lamppost.drivers]\nacme = acme_drivers:LIBRARY\n")
    return folder


def lamppost(folder: Path | None, *words: str) -> tuple[int, str]:
    """Exit code, and what it said with its errors last."""
    env = {**os.environ, "PYTHONPATH": str(folder or "")}
    done = subprocess.run(
        [sys.executable, "-c", CLI, *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_its_models_are_known_everywhere(site_packages: Path) -> None:
    code, said = lamppost(site_packages, "device", "decode", "acme-7", "4164a5", "--json")
    assert code == 0
    assert json.loads(said)["readings"] == [
        {"point": "power", "value": 100, "unit": "W", "quality": "good"}
    ]
    assert lamppost(site_packages, "device", "selftest", "acme-7")[0] == 0
    code, said = lamppost(site_packages, "device", "search", "acme")
    assert (code, said.splitlines()[0].split()[0]) == (0, "acme-7")


def test_it_does_not_replace_what_is_built_in(site_packages: Path) -> None:
    code, said = lamppost(site_packages, "device", "show", "sdm120", "--json")
    assert code == 0
    assert "Eastron" in json.loads(said)["products"][0]


def test_without_it_they_are_unknown() -> None:
    code, said = lamppost(None, "device", "show", "acme-7")
    assert code == 7
    assert "device.unknown-model" in said


def test_a_broken_one_stops_nothing(site_packages: Path) -> None:
    (site_packages / "acme_drivers.py").write_text("import nothing_of_that_name\n")
    code, said = lamppost(site_packages, "device", "show", "sdm120")
    assert code == 0, said
    assert "OK sdm120" in said
    assert "drivers of acme-drivers do not load: ModuleNotFoundError" in said
    (site_packages / "acme_drivers.py").write_text("LIBRARY = 7\n")
    code, said = lamppost(site_packages, "device", "show", "sdm120")
    assert code == 0
    assert "acme_drivers:LIBRARY is no mapping of models" in said
