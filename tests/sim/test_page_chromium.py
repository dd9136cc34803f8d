"""The local page in a real browser, at the width of a phone, with and without JavaScript."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.line import Line
from hwsim.meters import Sdm120, Sdm630
from hwsim.modbus import Faults, RtuUnit
from sim.diagnosis.gateway import Desk

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("chromium is not installed: apt-get install chromium", allow_module_level=True)
pytestmark = pytest.mark.long


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A page of a gateway with a good and a dead meter."""
    desk = Desk(tmp_path)
    units = [RtuUnit(1, Sdm630(seed=1)), RtuUnit(2, Sdm120(seed=2), faults=Faults(dead=True))]
    with Line(tmp_path / "a", 9600, devices=units), desk.running():
        desk.wait(lambda: desk.states() == {"m1": "ok", "m2": "dead"}, "m2 is known to be dead")
        page = subprocess.Popen(
            [sys.executable, "-m", "lamppost.cli", "page", "open", "--port", "0", "--for", "2min"],
            env={**desk.env, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert page.stdout is not None
        try:
            yield page.stdout.readline().split()[1]
        finally:
            page.terminate()
            page.wait(20)
            page.stdout.close()


def browse(folder: Path, address: str, *words: str, script: bool = True) -> str:
    """Run the browser once; what it prints."""
    assert CHROMIUM is not None
    profile = folder / f"profile-{script}"
    (profile / "Default").mkdir(parents=True, exist_ok=True)
    setting = {"default_content_setting_values": {"javascript": 1 if script else 2}}
    (profile / "Default/Preferences").write_text(json.dumps({"profile": setting}))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            *(["--no-sandbox"] if os.getuid() == 0 else []),
            f"--user-data-dir={profile}", "--window-size=390,844", *words, address,
        ],
        capture_output=True, text=True, timeout=90, check=False, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


def test_the_page_at_phone_width_with_and_without_script(tmp_path: Path, address: str) -> None:
    trial = tmp_path / "script.html"
    trial.write_text(
        "<p id=a>off</p><script>document.getElementById('a').textContent='on'</script>"
    )
    for script in (True, False):
        ran = browse(tmp_path, trial.as_uri(), "--dump-dom", script=script)
        assert (">on<" in ran) is script, "the browser does not obey its setting"
        found = ""
        while not found:  # a browser on a busy machine may give up before the page is there
            found = browse(tmp_path, address, "--dump-dom", script=script)
        assert re.search(r'<article class="bad"><h3>m2<em class="bad">dead</em>', found)
        assert re.search(r"<td>voltage\.l1</td><td>2[0-9.]+ V</td>", found)
        assert "PROBLEM" in found
        shot = tmp_path / f"phone-{script}.png"
        browse(tmp_path, address, f"--screenshot={shot}", script=script)
        data = shot.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(data[16:20], "big") == 390
        assert len(data) > 20_000, "a style that the policy blocked leaves the page nearly white"
