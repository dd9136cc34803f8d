"""`status` and `doctor` where the daemon is dead, hung, not ours to ask, on a full disk, or without its bus."""

from __future__ import annotations

import fcntl
import grp
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hwsim.line import Line
from hwsim.meters import Sdm120, Sdm630
from hwsim.modbus import Faults, RtuUnit
from sim.diagnosis.gateway import Desk


def meters(*, dead: bool = False) -> list[RtuUnit]:
    return [RtuUnit(1, Sdm630(seed=1)), RtuUnit(2, Sdm120(seed=2), faults=Faults(dead=dead))]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_dead(desk: Desk) -> None:
    told = desk.lamppost("status")
    assert told.code == 3
    assert told.lines[0] == "via: direct"
    assert told.verdict == "PROBLEM daemon.not-running; type: lamppost doctor host"
    found = desk.lamppost("doctor", "host", "--json")
    assert (found.code, found.json()["findings"][0]["id"]) == (3, "host.daemon-down")


def test_hung(desk: Desk) -> None:
    """It takes the connection and never says a word, as a stopped process does."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(desk.socket))
        deaf.listen()
        with ThreadPoolExecutor(2) as both:
            asked = both.submit(desk.lamppost, "status")
            found = desk.lamppost("doctor", "host", "--json")
            told = asked.result()
    assert (told.code, told.verdict) == (6, "PROBLEM daemon.no-answer; type: lamppost doctor host")
    assert (found.code, found.json()["findings"][0]["id"]) == (6, "host.daemon-hung")


@pytest.mark.long
def test_stopped_and_killed(desk: Desk) -> None:
    """A process that is stopped takes connections and says nothing; one that was killed leaves its socket behind."""
    with Line(desk.folder / "a", 9600, devices=meters()), desk.running() as daemon:
        desk.wait(lambda: set(desk.states().values()) == {"ok"}, "both meters answer")
        daemon.send_signal(signal.SIGSTOP)
        told = desk.lamppost("status")
        found = desk.lamppost("doctor", "host", "storage", "--json")
        assert (told.code, told.verdict) == (
            6,
            "PROBLEM daemon.no-answer; type: lamppost doctor host",
        )
        assert (found.code, found.json()["findings"][0]["id"]) == (6, "host.daemon-hung")
        daemon.kill()
        daemon.wait(20)
        assert desk.socket.exists()
        told = desk.lamppost("status")
        found = desk.lamppost("doctor", "host", "buffer", "--json")
        assert told.code == 3
        assert any("readings stored" in line for line in told.lines)  # read from its files
        assert (found.code, found.json()["findings"][0]["id"]) == (3, "host.daemon-down")


NOBODY = (
    *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
"""Another user, who may read everything: the interpreter may lie in root's own folder. Connecting is writing."""


@pytest.fixture
def stranger() -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder that everybody may look into, and how to run a command as somebody who may not open the socket."""
    with tempfile.TemporaryDirectory(prefix="lp-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        how: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            tried = subprocess.run([*NOBODY, "true"], capture_output=True, text=True, check=False)
            if tried.returncode != 0:
                pytest.skip(f"root cannot become nobody here: {tried.stderr.strip()}")
            how["prefix"] = NOBODY
        yield folder, how


def test_as_a_user_who_may_not(stranger: tuple[Path, dict[str, Any]]) -> None:
    """The system itself refuses: the socket of another user, or one's own without any right to it."""
    folder, how = stranger
    desk = Desk(folder)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(desk.socket))
        daemon.listen()
        desk.socket.chmod(0)
        told = desk.lamppost("status", **how)
        found = desk.lamppost("doctor", "host", "--json", **how)
        probed = desk.lamppost("bus", "probe", **how)
    closing = "PROBLEM daemon.no-permission; type: lamppost doctor host"
    assert (told.code, told.verdict) == (5, closing), told.err
    assert (found.code, found.json()["findings"][0]["id"]) == (5, "host.no-permission")
    assert probed.code == 5
    assert probed.verdict.startswith("PROBLEM daemon.no-permission")


def test_a_port_of_another_user(stranger: tuple[Path, dict[str, Any]]) -> None:
    folder, how = stranger
    if "prefix" not in how:
        pytest.skip("a port that this user may not open: needs root to become another one")
    desk = Desk(folder)
    with Line(folder / "a", 9600, devices=meters()):
        group = grp.getgrgid((folder / "a").stat().st_gid).gr_name
        found = desk.lamppost("doctor", "bus", "--json", **how)
    first = found.json()["findings"][0]
    assert (found.code, first["id"]) == (5, "bus.port-permission")
    assert f"the group {group}" in first["evidence"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.state = small_disk
    desk.env["LAMPPOST_STATE"] = str(small_disk)
    with Line(tmp_path / "a", 9600, devices=meters()), desk.running():
        desk.wait(lambda: set(desk.states().values()) == {"ok"}, "both meters answer")
        size = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        (small_disk / "big").write_bytes(bytes(size))
        told = desk.lamppost("status")
        found = desk.lamppost("doctor", "storage", "buffer", "--json")
    assert told.code in (0, 1)  # the ring's own room is taken beforehand: it may go on
    assert told.verdict.startswith(("OK", "PROBLEM"))
    assert (found.code, found.json()["findings"][0]["id"]) == (1, "storage.full")


@pytest.mark.long
def test_the_bus_is_held_by_another_program(desk: Desk) -> None:
    with Line(desk.folder / "a", 9600, devices=meters()) as line:
        descriptor = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            with desk.running():
                desk.wait(lambda: set(desk.states().values()) == {"dead"}, "the bus is given up")
                told = desk.lamppost("status")
                found = desk.lamppost("doctor", "bus", "--json")
        finally:
            os.close(descriptor)
    assert told.code == 1
    assert "link.busy" in told.out or "uplink" in told.verdict or "trust" in told.verdict
    first = found.json()["findings"][0]
    assert (found.code, first["id"]) == (4, "bus.port-busy")
    assert f"(process {os.getpid()})" in first["evidence"]


@pytest.mark.long
def test_with_the_daemon_the_bus_is_borrowed_and_given_back(desk: Desk) -> None:
    """A dead unit is examined under a lease; meanwhile nobody else gets the bus, afterwards polling goes on."""
    with Line(desk.folder / "a", 9600, devices=meters(dead=True)) as line, desk.running() as daemon:
        desk.wait(lambda: desk.states() == {"m1": "ok", "m2": "dead"}, "m2 is known to be dead")
        found = desk.lamppost("doctor", "bus", "--json")
        told = found.json()
        assert (told["via"], found.code) == ("daemon", 1)
        assert [(f["id"], f["subject"]) for f in told["findings"]] == [("bus.silent-unit", "m2")]
        assert line.stats().splits == 0
        asked = line.stats().requests[1]
        desk.wait(lambda: line.stats().requests[1] > asked + 2, "polling goes on")
        assert desk.lamppost("bus", "raw", "--link", "a", "--crc", "010600000001").code == 1
        daemon.send_signal(signal.SIGSTOP)
        assert desk.lamppost("status").code == 6
        daemon.send_signal(signal.SIGCONT)
        assert desk.status() is not None


@pytest.mark.long
def test_a_lease_is_held_by_one_and_ends_with_its_holder(desk: Desk) -> None:
    with Line(desk.folder / "a", 9600, devices=meters()), desk.running():
        desk.wait(lambda: set(desk.states().values()) == {"ok"}, "both meters answer")
        with socket.socket(socket.AF_UNIX) as holder:
            holder.connect(str(desk.socket))
            holder.sendall(
                b'{"do": "lease", "link": "a", "seconds": 60, "who": "minicom (process 812)"}\n'
            )
            assert b'"ok":true' in holder.recv(4096)
            told = desk.lamppost("bus", "probe", "m1")
            assert told.code == 4
            assert "minicom (process 812)" in told.out
        desk.wait(lambda: desk.lamppost("bus", "probe", "m1").code == 0, "the bus is free again")
