"""One case of the diagnosis table: its cabinet is built, the fault injected, the tool run as a technician would."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.cabinet import Cabinet
from hwsim.device import Babbler, Noise
from hwsim.line import Line
from hwsim.mbus import MBusMeter, long
from hwsim.meters import METERS
from hwsim.modbus import RtuUnit
from hwsim.preload import environment
from hwsim.tcp_server import TcpServer
from hwsim.terminal import Terminal
from hwsim.wiring import Alternating, SecondMaster, SwappedPair, reorder

HEAD = '[site]\ngateway = "gw-1"\nhub = "hub.city"\n[time]\nunsynced = "send"\n[uplink]\nhost = "localhost"\n'
DEFAULT_UNITS = [{"unit": 1, "model": "sdm630"}, {"unit": 2, "model": "sdm120"}]
BOARD = {"RPI_LGPIO_REVISION": "c03114", "RPI_LGPIO_CHIP": "0"}
LINES = {"rtu": "a", "mbus": "b", "stream": "u", "uart": "u"}


@dataclass(frozen=True, slots=True)
class Case:
    """A row of cases.toml."""

    name: str
    row: str
    bus: str
    site: str
    expect: str
    subject: str = ""
    exit: int = 1
    fast: bool = False
    doctor_only: bool = False
    """The fault is in files of the machine that only doctor's --root can show."""
    also: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    line: Mapping[str, Any] = field(default_factory=dict)
    units: tuple[Mapping[str, Any], ...] | None = None
    meters: tuple[int, ...] = (1, 2)
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of meters, by their address."""
    sensors: tuple[str | Mapping[str, Any], ...] = ()
    chips: tuple[Mapping[str, Any], ...] = ()
    media: Mapping[str, int] = field(default_factory=dict)
    """Of meters, by their address; water without it."""
    beacons: tuple[Mapping[str, Any], ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    pulses: tuple[Mapping[str, Any], ...] = ()
    wiring: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the tool said."""

    case: Case
    tool: str
    exit: int
    findings: tuple[Mapping[str, Any], ...]
    verdict: str
    seconds: float
    errors: str = ""

    @property
    def first(self) -> str:
        """The id that stands first among problems; empty without one."""
        return str(self.findings[0]["id"]) if self.findings else ""

    def right(self) -> bool:
        """Whether the expected id stands first, about the right device, with the right exit code."""
        wanted = self.case.expect
        code = 0 if not wanted else self.case.exit
        about = not self.case.subject or (
            bool(self.findings) and self.findings[0]["subject"] == self.case.subject
        )
        whole = set(self.case.both) <= {f["id"] for f in self.findings}
        return self.first == wanted and self.exit == code and about and whole

    def wrong_certainties(self) -> list[str]:
        """Findings that claim proof of something that was not injected."""
        true = {self.case.expect, *self.case.also, *self.case.both}
        return [
            f"{f['id']} {f['subject']}"
            for f in self.findings
            if f["sure"] == "proof" and f["id"] not in true
        ]


def cases() -> tuple[dict[str, str], list[Case]]:
    """Sites by name, and all cases."""
    table = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))
    sites = {name: row["text"] for name, row in table["site"].items()}
    return sites, [_case(row) for row in table["case"]]


def _case(row: dict[str, Any]) -> Case:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Case(**fields)


def run(case: Case, sites: Mapping[str, str], folder: Path, tool: str = "doctor") -> Seen:
    """Inject, ask, take everything away again."""
    folder.mkdir(parents=True)
    with stage(case, folder) as (env, root, ports):
        site = folder / "site.toml"
        text = sites[case.site].replace("{folder}", str(folder))
        for name, port in ports.items():
            text = text.replace(f"{{port:{name}}}", str(port))
        site.write_text(HEAD + text, encoding="utf-8")
        where = ["--site", site, "--state", folder / "state", "--socket", folder / "none.sock"]
        words = (
            ["doctor", "bus", "sensors", "--root", root] if tool == "doctor" else ["bus", "probe"]
        )
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "lamppost.cli", *map(str, [*words, "--json", *where])],
            capture_output=True,
            text=True,
            env={**env, "TERM": "dumb"},
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - began
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return Seen(case, tool, done.returncode, (), done.stdout, seconds, done.stderr)
    return Seen(case, tool, done.returncode, tuple(told["findings"]), told["verdict"], seconds)


@contextmanager
def stage(case: Case, folder: Path) -> Iterator[tuple[dict[str, str], Path, dict[str, int]]]:
    """The environment, the root of the machine's files, and the ports of TCP servers."""
    root = folder / "root"
    (root / "dev").mkdir(parents=True)
    with ExitStack() as stack:
        cabinet = stack.enter_context(Cabinet(_plan(case), folder))
        env = environment(folder / "dev") | BOARD
        env["DBUS_SYSTEM_BUS_ADDRESS"] = next(
            (radio.address for radio in cabinet.radios.values()), f"unix:path={folder}/nobody"
        )
        keys = folder / "state/credentials"
        keys.mkdir(parents=True)
        for name, key in case.keys.items():
            (keys / name).write_text(key)
        for change in case.wiring:
            _CHANGES[str(change["kind"])](case, cabinet, change, folder, stack)
        servers = {**cabinet.servers, **cabinet.converters}
        yield env, root, {name: server.port for name, server in servers.items()}


def _plan(case: Case) -> dict[str, Any]:
    units = [dict(u) for u in (DEFAULT_UNITS if case.units is None else case.units)]
    for unit in units:
        unit["faults"] = dict(unit.get("faults", {}))
    if case.bus == "rtu":
        return {"line": [{"name": "a", "baud": 9600, **case.line, "unit": units}]}
    if case.bus == "tcp":
        return {"tcp": [{"name": "t", "unit": units}]}
    if case.bus == "mbus":
        frames = _meters(case)
        how = {"baud": 2400, "form": "8E1", **case.line}
        return {"line": [{"name": "b", **how, "mbus": frames}]}
    if case.bus == "mbus-tcp":
        return {"converter": [{"name": "c", **case.line, "mbus": _meters(case)}]}
    if case.bus == "ble":
        return {"ble": [{"sensor": [dict(sensor) for sensor in case.beacons]}]}
    if case.bus == "gpio":
        no_chip = any(change["kind"] == "no-bus" for change in case.wiring)
        return {} if no_chip else {"gpio": [{"pulse": [dict(pulse) for pulse in case.pulses]}]}
    if case.bus in ("stream", "uart"):
        sensors = [{"model": s} if isinstance(s, str) else dict(s) for s in case.sensors]
        how = {"baud": 9600, "half_duplex": False, **case.line}
        return {"line": [{"name": "u", **how, "sensor": sensors}]}
    chips = [dict(chip) for chip in case.chips]
    no_bus = any(change["kind"] == "no-bus" for change in case.wiring)
    return {} if no_bus else {"i2c": [{"number": 1, "device": chips}]}


def _meters(case: Case) -> list[dict[str, Any]]:
    return [
        {
            "frames": [_meter(address, at, case.media.get(str(address), 7))],
            "address": address,
            "faults": dict(case.faults.get(str(address), {})),
        }
        for at, address in enumerate(case.meters)
    ]


def _meter(address: int, at: int, medium: int = 7) -> str:
    header = bytes.fromhex(f"{11111111 * (at + 1)}")[::-1]
    header += bytes.fromhex("242301") + bytes((medium,)) + bytes.fromhex("55000000")
    litres = (1000 + at).to_bytes(4, "little")
    return long(0x08, address, 0x72, header + b"\x04\x13" + litres).hex()


def _line(case: Case, cabinet: Cabinet) -> Line:
    return cabinet.lines[LINES[case.bus]]


def _attach(make: Callable[[Mapping[str, Any]], Any]) -> Callable[..., None]:
    def change(case: Case, cabinet: Cabinet, how: Mapping[str, Any], *_: object) -> None:
        for device in make(how):
            _line(case, cabinet).attach(device)

    return change


def _double(how: Mapping[str, Any]) -> list[RtuUnit]:
    model = METERS[how["model"]](seed=99)
    return [RtuUnit(how["unit"], model, delay=how["delay"])]


def _double_meter(how: Mapping[str, Any]) -> list[MBusMeter]:
    return [MBusMeter([bytes.fromhex(_meter(how["unit"], 4))], address=how["unit"])]


def _double_at_converter(case: Case, cabinet: Cabinet, how: Mapping[str, Any], *_: object) -> None:
    del case
    cabinet.converters["c"].meters += _double_meter(how)


def _hung(case: Case, cabinet: Cabinet, *_: object) -> None:
    del case
    cabinet.converters["c"].hung = True


def _hangs_up(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    """A converter that has its one client already: it takes a second one and closes at once."""
    del case, how, folder
    converter = cabinet.converters["c"]
    converter.unplug()
    busy = stack.enter_context(socket.create_server((converter.host, converter.port), backlog=8))
    closing = threading.Thread(target=_close_all, args=(busy,), daemon=True)
    closing.start()
    stack.callback(closing.join, 5)
    stack.callback(busy.shutdown, socket.SHUT_RDWR)


def _no_host(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    """What is sent to the address is lost, as where nothing has it: a listener with a full queue drops it."""
    del how, folder
    server: TcpServer = cabinet.converters["c"] if case.bus == "mbus-tcp" else cabinet.servers["t"]
    server.unplug()
    deaf = stack.enter_context(socket.socket())
    deaf.bind((server.host, server.port))
    deaf.listen(0)
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())


def _close_all(door: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            door.accept()[0].close()


def _alternating(how: Mapping[str, Any]) -> list[RtuUnit]:
    kind = METERS[how["model"]]
    return [Alternating(how["unit"], kind(seed=40 + turn), turn=turn) for turn in (0, 1)]


def _word_order(case: Case, cabinet: Cabinet, how: Mapping[str, Any], *_: object) -> None:
    unit = cabinet.unit("t" if case.bus == "tcp" else "a", how["unit"])
    reorder(unit.model, how["order"])


def _unplugged(case: Case, cabinet: Cabinet, how: Mapping[str, Any], *_: object) -> None:
    del how
    cabinet.adapter(
        {"tcp": "t", "mbus-tcp": "c", "ble": "ble"}.get(case.bus) or LINES[case.bus]
    ).unplug()


def _other_adapter(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    del case, cabinet, how
    by_id = folder / "root/dev/serial/by-id"
    by_id.mkdir(parents=True)
    other = Terminal(by_id / "usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0")
    stack.callback(other.close)


def _held(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    del how, folder
    descriptor = os.open(_line(case, cabinet).path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    stack.callback(os.close, descriptor)


def _console(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    """The site's port is the board's UART, and the kernel's command line names it."""
    del how, stack
    line = _line(case, cabinet)
    uart = folder / "root/dev/ttyAMA0"
    uart.symlink_to(os.readlink(line.path))
    (folder / "root/proc").mkdir()
    (folder / "root/proc/cmdline").write_text("console=tty1 console=ttyAMA0,115200 root=/dev/sda\n")


def _stuck(case: Case, cabinet: Cabinet, *_: object) -> None:
    del case
    for bus in cabinet.board.buses.values():
        bus.stuck = True


def _switched_off(case: Case, cabinet: Cabinet, *_: object) -> None:
    del case
    cabinet.radios["ble"].power(on=False)


def _no_dbus(case: Case, cabinet: Cabinet, *_: object) -> None:
    """The program cannot even ask: the bus itself is gone."""
    del case
    cabinet.radios["ble"].close()


def _low(case: Case, cabinet: Cabinet, how: Mapping[str, Any], *_: object) -> None:
    del case
    cabinet.board.chips[0].set(how["pin"], 0)


def _flicker(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    """A motor cable lies beside that of the contact: changes all the time, none of which stands."""
    del case, folder
    ended = threading.Event()
    chip = cabinet.board.chips[0]

    def changes() -> None:
        level = 0
        while not ended.wait(how["every"]):
            chip.set(how["pin"], level)
            level = 1 - level

    thread = threading.Thread(target=changes, daemon=True)
    thread.start()
    stack.callback(thread.join, 5)
    stack.callback(ended.set)


def _claimed(
    case: Case, cabinet: Cabinet, how: Mapping[str, Any], folder: Path, stack: ExitStack
) -> None:
    """Another program counts on the same pin."""
    del case, cabinet
    words = (
        f"import lgpio; h = lgpio.gpiochip_open(0); print(lgpio.gpio_claim_input(h, {how['pin']}), flush=True); "
        "input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", words],
        env={**environment(folder / "dev"), "LG_WD": str(folder)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    stack.enter_context(process)  # its end closes the pipes
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"0\n"


def _nothing(*_: object) -> None:
    return None


_CHANGES: Mapping[str, Callable[..., None]] = {
    "swapped-pair": _attach(lambda how: [SwappedPair()]),
    "second-master": _attach(lambda how: [SecondMaster()]),
    "babbler": _attach(lambda how: [Babbler()]),
    "noise": _attach(lambda how: [Noise(how["rate"], seed=1)]),
    "double": _attach(_double),
    "double-meter": _attach(_double_meter),
    "double-at-converter": _double_at_converter,
    "hung": _hung,
    "hangs-up": _hangs_up,
    "no-host": _no_host,
    "alternating": _attach(_alternating),
    "word-order": _word_order,
    "unplugged": _unplugged,
    "other-adapter": _other_adapter,
    "held": _held,
    "console": _console,
    "stuck": _stuck,
    "no-bus": _nothing,
    "switched-off": _switched_off,
    "no-dbus": _no_dbus,
    "low": _low,
    "flicker": _flicker,
    "claimed": _claimed,
}


def main() -> None:
    """`python -m sim.diagnosis.stage [PART OF A NAME]`: play cases and print what was said."""
    import tempfile

    sites, rows = cases()
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(rows):
            if len(sys.argv) < 2 or sys.argv[1] in case.name:
                for tool in ("doctor", "probe") if len(sys.argv) > 2 else ("doctor",):
                    seen = run(case, sites, Path(scratch) / f"{number}-{tool}", tool)
                    print(line_of(seen), flush=True)


def line_of(seen: Seen) -> str:
    """A row of the printed table."""
    said = ", ".join(f"{f['id']}({f['sure']})" for f in seen.findings) or "-"
    mark = "ok   " if seen.right() else "WRONG"
    wrong = seen.wrong_certainties()
    more = f"  WRONG CERTAINTY {wrong}" if wrong else ""
    how = f"{mark} {seen.tool:6} {seen.exit} {seen.seconds:5.1f} s"
    wanted = seen.case.expect or "-"
    fault = f"{seen.case.bus:8} {seen.case.name:54} {wanted:24}"
    return f"{how}  {fault} {said}{more} {seen.errors[-300:]}"


if __name__ == "__main__":
    main()
