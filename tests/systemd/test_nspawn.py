"""The unit under a running systemd: READY, simulated devices behind its limits, and a restart when the daemon hangs.

Needs root, systemd-nspawn and debootstrap (or a prepared Debian root in LAMPPOST_NSPAWN_ROOT); takes a few minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import site
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
PARTS = {
    "gateway/lamppost": ("lamppost", "lamppost.cli.main"),
    "hub/lamppost_hub": ("lamppost-hub", "lamppost_hub.cli.main"),
    "hw-sim/hwsim": ("lamppost-sim", "hwsim.cli"),
    "drivers/lamppost_drivers": None,
}
PROGRAM = """#!/opt/lamppost/bin/python3
import sys
from {module} import main
sys.exit(main())
"""
CABINET = """
[Unit]
Before=lamppost.service
[Service]
ExecStart=/opt/lamppost/bin/lamppost-sim run {file} --at /run/sim
ExecStartPost=/bin/sh -c 'until ls /run/sim/sim.sock; do sleep 0.1; done'
ExecStartPost=/bin/sh -c 'chgrp dialout /dev/pts/*; chmod 660 /dev/pts/*'
"""
SHORT = """
[Unit]
Wants=sim.service
After=sim.service
[Service]
WatchdogSec=4s
"""
SITE = """
[site]
gateway = "gw-unit"
hub = "hub.demo"
[time]
unsynced = "send"
[ring]
size = "8MiB"
[uplink]
host = "localhost"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/run/sim/rs485-1"
baud = 9600
[[device]]
name = "meter-main"
model = "sdm630"
link = "rs485-1"
unit = 1
every = "1s"
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian root with Lamppost under /opt/lamppost, as a package would bring it."""
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("needs root and systemd-nspawn: apt-get install systemd-container")
    prepared = os.environ.get("LAMPPOST_NSPAWN_ROOT")
    root = Path(prepared) if prepared else tmp_path_factory.mktemp("debian")
    if not prepared:
        if not shutil.which("debootstrap"):
            pytest.skip("needs debootstrap: apt-get install debootstrap")
        made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
        subprocess.run(made, check=True, capture_output=True)
    _install(root)
    return root


def _install(root: Path) -> None:
    home = root / "opt/lamppost"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run(
        ["chroot", str(root), "python3", "-m", "venv", "--without-pip", "/opt/lamppost"], check=True
    )
    packages = next((home / "lib").glob("python3*")) / "site-packages"
    shutil.copytree(site.getsitepackages()[0], packages, dirs_exist_ok=True, symlinks=True)
    for pointer in packages.glob("*lamppost*.pth"):
        pointer.unlink()
    for part, program in PARTS.items():
        shutil.copytree(CHECKOUT / part, packages / Path(part).name, dirs_exist_ok=True)
        if program is not None:
            file = home / "bin" / program[0]
            file.write_text(PROGRAM.format(module=program[1]))
            file.chmod(0o755)
    units = root / "etc/systemd/system"
    for unit in (CHECKOUT / "systemd").glob("*.service"):
        shutil.copy(unit, units)
    shutil.copy(CHECKOUT / "systemd/sysusers.conf", root / "usr/lib/sysusers.d/lamppost.conf")
    shutil.copy(CHECKOUT / "systemd/tmpfiles.conf", root / "usr/lib/tmpfiles.d/lamppost.conf")
    cabinet = Path("/") / packages.relative_to(root) / "hwsim/sites/cabinet.toml"
    (units / "sim.service").write_text(CABINET.format(file=cabinet))
    (units / "lamppost.service.d").mkdir(exist_ok=True)
    (units / "lamppost.service.d/test.conf").write_text(SHORT)
    wanted = units / "multi-user.target.wants/lamppost.service"
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("/etc/systemd/system/lamppost.service")
    (root / "etc/lamppost").mkdir(exist_ok=True)
    (root / "etc/lamppost/site.toml").write_text(SITE)


class Machine:
    """A booted container: commands run inside it."""

    def __init__(self, root: Path) -> None:
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", str(root), "--volatile=overlay", "--private-network",
             "--register=no", "--keep-unit", "--console=pipe", "--machine=lamppost-test", "--boot"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *command: str) -> str:
        """What a command inside prints; "" before there is an inside."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
        if not children.split():
            return ""
        inside = ["nsenter", "-t", children.split()[-1], "-m", "-p", "-u", "-i", "-n", "-C"]
        return subprocess.run(
            [*inside, *command], capture_output=True, text=True, check=False
        ).stdout

    def shows(self, name: str) -> str:
        """A property of the gateway's unit."""
        return self.run("systemctl", "show", "lamppost", "-p", name, "--value").strip()

    def close(self) -> None:
        for _ in range(2):
            if self._nspawn.poll() is None:
                self._nspawn.send_signal(signal.SIGTERM)
                time.sleep(2)
        self._nspawn.kill()
        self._nspawn.wait()


@pytest.fixture
def machine(debian: Path) -> Iterator[Machine]:
    booted = Machine(debian)
    try:
        yield booted
    finally:
        booted.close()


def wait_for(what: str, true: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.5)


def test_the_unit_under_a_running_systemd(machine: Machine) -> None:
    wait_for("READY=1", lambda: machine.shows("ActiveState") == "active")
    status = ("/opt/lamppost/bin/lamppost", "status")
    wait_for(
        "a meter read through the unit's limits",
        lambda: re.search(r"answer +1 of 1: meter-main", machine.run(*status)),
    )
    assert machine.shows("User") == "lamppost"
    before = machine.shows("MainPID")
    machine.run("systemctl", "kill", "-s", "STOP", "--kill-whom=main", "lamppost")
    wait_for("the watchdog's restart", lambda: machine.shows("NRestarts") == "1")
    wait_for("READY=1 again", lambda: machine.shows("ActiveState") == "active")
    assert machine.shows("MainPID") not in ("0", before)
    journal = machine.run("journalctl", "-u", "lamppost", "--no-pager")
    assert "Watchdog timeout" in journal
