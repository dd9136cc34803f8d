"""A program that is killed while a simulated port is its own leaves it free, as a real port would be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared_folder import CHECKOUT

PLAY = '''
import subprocess, sys, time
from pathlib import Path
from hwsim.line import Line

path = Path(sys.argv[1])
take = """
import fcntl, os, sys, termios, time
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(port, termios.TIOCEXCL)
print("taken", flush=True)
time.sleep(60)
"""

def taken():
    command = [sys.executable, "-c", take, str(path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = driver.stdout.readline()
    if said:
        time.sleep(0.1)  # the simulator sees that it is there
    driver.kill()
    driver.wait()
    return bool(said)

with Line(path, 9600):
    assert taken()
    for _ in range(20):
        if taken():
            break
    else:
        raise SystemExit("never free again")
'''


def test_a_killed_driver_leaves_the_port_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLAY, str(tmp_path / "tty")]
    if os.geteuid() == 0:  # root may open it anyhow, unless it may not administer the system
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv (util-linux) is not installed")
        command = ["setpriv", "--bounding-set=-sys_admin", *command]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "hw-sim")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
