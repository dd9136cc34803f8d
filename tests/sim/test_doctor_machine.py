"""What doctor sees of a computer: firmware flags, heat, modem stages, cables, blocked ports, a proxy in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.pki import Authority
from hwsim.machine import Machine
from lamppost.clock import SystemClock
from lamppost.diagnosis import facts as f
from lamppost.diagnosis import verdict
from lamppost.diagnosis.collect import Sources, collect
from lamppost.diagnosis.facts import Facts
from lamppost.diagnosis.gather import machine as gather
from lamppost.diagnosis.gather import network, program

SITE = """\
[site]
gateway = "gw-1"
hub = "hub.city"
[time]
unsynced = "send"
[uplink]
host = "127.0.0.1"
port = {port}
[[link]]
name = "u"
kind = "serial"
port = "/dev/nothing"
[[device]]
name = "air"
model = "pms5003"
link = "u"
"""


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "machine")
    made.mounted(Path("/"), "rw,noatime")
    monkeypatch.setenv("PATH", f"{made.programs}:/usr/bin:/bin")
    return made


def ids(computer: Machine, tmp_path: Path, areas: Sequence[str], port: int = 9) -> list[str]:
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(port=port))
    sources = Sources(tmp_path / "none.sock", tmp_path, site, computer.root, probe=False, dial=0.5)
    facts = asyncio.run(collect(sources, SystemClock(), areas))
    return [each.id for each in verdict.judge(facts, areas)]


def _mobile_without_modem(computer: Machine) -> None:
    computer.modem("absent")
    computer.route("wwan0")


CASES: list[tuple[str, Callable[[Machine], None], str, list[str]]] = [
    ("weak supply", lambda m: m.throttled(0x50005), "power", ["power.under-voltage"]),
    ("weak before", lambda m: m.throttled(0x50000), "power", ["power.was-under-voltage"]),
    ("slowed by heat", lambda m: m.throttled(0x8), "power", ["power.throttled"]),
    ("well", lambda m: m.throttled(0), "power", []),
    ("hot", lambda m: m.heat(85.2), "host", ["host.daemon-down", "host.hot"]),
    ("loaded", lambda m: m.load(99.0), "host", ["host.daemon-down", "host.overloaded"]),
    ("no memory", lambda m: m.memory(9_000, 900_000), "host", ["host.daemon-down", "host.low-memory"]),
    ("failing card", lambda m: m.kernel_says(
        "[  1.0] usb 1-1: new device", "[ 99.1] mmcblk0: error -110 transferring data",
        "[ 99.2] blk_update_request: I/O error, dev mmcblk0, sector 81"), "storage", ["storage.failing"]),
    ("another disk fails", lambda m: m.kernel_says("[ 9.1] EXT4-fs error (device loop3): bad block",
     "[ 9.2] blk_update_request: I/O error, dev sdb, sector 0"), "storage", []),
    ("a card that only starts", lambda m: m.kernel_says("[ 1.1] mmc0: new high speed SDXC card at address aaaa"),
     "storage", []),
    *((f"modem {stage}", lambda m, stage=stage: m.modem(stage), "modem", [finding])
      for stage, finding in (
          ("sim-missing", "modem.sim-missing"), ("sim-pin", "modem.sim-locked"), ("sim-puk", "modem.sim-locked"),
          ("searching", "modem.searching"), ("denied", "modem.denied"), ("disabled", "modem.disabled"),
          ("no-data", "modem.no-data"), ("weak", "modem.weak-signal"))),
    ("modem connected", lambda m: m.modem("connected"), "modem", []),
    ("no modem, none wanted", lambda m: m.modem("absent"), "modem", []),
    ("no modem, and the route goes over it", _mobile_without_modem, "modem", ["modem.missing"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "area", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_machine_shows_it(
    computer: Machine,
    tmp_path: Path,
    change: Callable[[Machine], None],
    area: str,
    expected: list[str],
) -> None:
    change(computer)
    assert ids(computer, tmp_path, [area]) == expected


def test_a_mount_that_went_read_only(computer: Machine, tmp_path: Path) -> None:
    computer.mounted(tmp_path, "ro,noatime")
    found = gather.mount(tmp_path, computer.root)
    assert found is not None
    assert found.read_only
    computer.mounted(tmp_path, "rw,noatime")
    found = gather.mount(tmp_path, computer.root)
    assert found is not None
    assert not found.read_only


def test_a_broker_that_is_not_there(computer: Machine, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert ids(computer, tmp_path, ["net"], port) == ["net.refused"]


def test_a_port_that_is_blocked() -> None:
    """A listener whose queue is full drops what comes, as a firewall does; another port of the same host answers."""
    with socket.socket() as blocked, socket.socket() as web:
        blocked.bind(("127.0.0.1", 0))
        blocked.listen(0)
        web.bind(("127.0.0.1", 0))
        web.listen()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(blocked.getsockname())
        try:
            port, other = blocked.getsockname()[1], web.getsockname()[1]
            found = network.net("127.0.0.1", port, web=other, wait=0.4)
        finally:
            for filler in fillers:
                filler.close()
    assert [dial.outcome for dial in found.dials] == ["timeout"]
    assert found.web is not None
    assert found.web.outcome == "open"
    judged = verdict.judge(Facts(net=found), ["net"])
    assert [each.id for each in judged] == ["net.port-blocked"]


@dataclass(frozen=True)
class Files:
    """An identity as far as a handshake needs it."""

    tls_certificate: Path
    tls_key: Path
    server_ca: Path


@pytest.mark.parametrize(
    ("shown_by", "dates", "expected"),
    [
        ("Corporate Proxy", (-1, 30), "uplink.intercepted"),
        ("City Hub", (-1, 30), None),
        ("City Hub", (-9, -2), "uplink.server-certificate"),
    ],
)
def test_whose_certificate_is_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown_by: str,
    dates: tuple[int, int],
    expected: str | None,
) -> None:
    ours = Authority(tmp_path, "City Hub")
    theirs = ours if shown_by == "City Hub" else Authority(tmp_path, shown_by)
    certificate, key = theirs.issue(
        "broker", server=True, file="broker", first_day=dates[0], last_day=dates[1]
    )
    mine = ours.issue("gw-1", file="gw-1")
    files = Files(*mine, ours.pem)
    monkeypatch.setattr("lamppost.envelope.identity.load", lambda folder: files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as door:
        answering = threading.Thread(target=_shake_hands, args=(door, context))
        answering.start()
        tls = program.tls(tmp_path, "localhost", door.getsockname()[1], 3.0)
        answering.join()
    assert tls is not None
    clock = f.Clock(state="synced", now=1, floor=0)
    found = verdict.judge(Facts(tls=tls, clock=clock), ["uplink"])
    assert [each.id for each in found] == ([expected] if expected else [])
    if expected == "uplink.intercepted":
        assert "Corporate Proxy" in found[0].evidence


def _shake_hands(door: socket.socket, context: ssl.SSLContext) -> None:
    line, _ = door.accept()
    with contextlib.suppress(OSError), context.wrap_socket(line, server_side=True) as wrapped:
        wrapped.recv(1)
    line.close()


def test_cables_addresses_and_routes(computer: Machine) -> None:
    computer.interface("eth0", carrier=False)
    assert [i.carrier for i in network.interfaces(computer.root)] == [False]
    computer.interface("eth0")
    computer.addresses(eth0="10.0.0.7")
    assert network.interfaces(computer.root)[0].addresses == ["10.0.0.7"]
    assert network.default_route(computer.root) == "eth0"
    computer.route("")
    assert network.default_route(computer.root) == ""


def test_names_that_nobody_knows() -> None:
    addresses, fault = network.names("no-such-host.invalid")
    assert addresses == []
    assert fault
    assert network.names("192.0.2.9") == (["192.0.2.9"], "")


def test_ports_of_the_system_are_named(computer: Machine) -> None:
    (computer.root / "dev").mkdir()
    (computer.root / "dev/ttyAMA0").touch()
    computer.file("proc/cmdline", "console=ttyAMA0,115200 console=tty1 root=/dev/mmcblk0p2")
    (port,) = gather.ports(computer.root)
    assert port.use == "serial console"
    assert port.proof == "console=ttyAMA0 in the kernel's command line"
