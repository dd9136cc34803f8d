"""`./dev demo --hold`: a cable is pulled by hand, the doctor names it, and Ctrl-C ends with the count."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="needs Mosquitto; type: sudo apt-get install mosquitto",
)


def until(true: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)  # other processes start


def typed(code: str, *words: str, env: dict[str, str]) -> tuple[int, str]:
    """A console script of this checkout: `code` imports its `main`."""
    command = [sys.executable, "-c", f"import sys; {code}; sys.exit(main())", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | env
    )
    return done.returncode, done.stdout


def test_pull_a_cable_and_ask_the_doctor(tmp_path: Path) -> None:
    pointer, log = tmp_path / "demo.env", tmp_path / "log"
    command = [sys.executable, "-m", "hwsim.demo", "--hold", "--pointer", str(pointer)]
    with log.open("w") as said:
        demo = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
    try:
        until(pointer.exists, demo, log)
        lines = pointer.read_text().splitlines()
        env = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        until(lambda: " 0 readings stored" not in log.read_text().splitlines()[-1]
              and "readings stored" in log.read_text(), demo, log)  # fmt: skip
        told = typed("from hwsim.cli import main", "tell", "unplug", "rs485-1", env=env)
        assert told == (0, "OK unplug rs485-1\n")
        code, verdict = typed("from lamppost.cli import main", "doctor", "bus", env=env)
        assert code == 1
        assert "PROBLEM bus.port-missing rs485-1 (proved)" in verdict
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does, to everything in the group
        closing, _ = demo.communicate(timeout=90)
    finally:
        demo.terminate()
        demo.wait(60)
    assert demo.returncode == 0, closing + log.read_text()
    assert closing.startswith("OK ")
    assert " 0 lost, 0 doubled, 0 s outage" in closing
    assert max(map(len, closing.splitlines())) <= 80
    assert not pointer.exists()
    assert not Path(env["LAMPPOST_SITE"]).exists(), "the demo's folder is gone"
