"""What a technician sees, as it is on the wire: commands on a pseudo-terminal, at two widths, as three terminals.

`python tests/golden/terminals/capture.py --write` writes the files anew; without it, prints those that differ as JSON.
One process, no thread: each command runs in a fork of it with everything imported already.
"""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import sys
import tempfile
import termios
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lamppost.cli.main import main
from lamppost.diagnosis import bundle
from lamppost.diagnosis import facts as f
from lamppost.diagnosis.facts import Facts

HERE = Path(__file__).parent
TERMS = ("vt220", "dumb", "xterm-256color")
WIDTHS = (80, 40)
NOW = 1_900_000_000
_SITE = """\
[site]
gateway = "lamp-post-17"
hub = "hub.city.example"
[uplink]
host = "hub.city.example"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter-main"
model = "sdm630"
link = "rs485-1"
unit = 1
"""

_READINGS = {
    "meter-main": {"voltage.l1": 230.256, "power": 4410.21, "energy.import": 28597.97},
    "air-roof": {"pm25": 21.0, "pm10": 34.0},
}


_LAST = {
    "number": 7, "serial": 41, "outcome": "reverted", "code": "ota.died",
    "reason": "the gateway ended twice in its trial", "at": NOW - 600,
}  # fmt: skip


def _device(name: str, model: str, on: str, state: str = "ok") -> dict[str, Any]:
    well = state == "ok"
    fault = {"code": "", "why": "", "hint": ""}
    if not well:
        fault = {
            "code": "link.no-answer",
            "why": f"{on}: no answer within 0.3 s",
            "hint": "check power, wiring (A and B), unit id, baud rate and parity of the device",
        }
    return {
        "name": name, "model": model, "link": on.partition("/")[0], "on": on, "state": state,
        "since_seconds_ago": 600.0, "at_seconds_ago": 1.0, "reason": "good" if well else "no_response",
        "fault": fault,
        "counts": {"polls": 900, "ok": 900 if well else 0, "timeouts": 0 if well else 40, "corrupt": 0,
                   "refused": 0, "absent": 0},
        "readings": {p: {"value": v, "quality": "good"} for p, v in _READINGS.get(name, {}).items()},
    }  # fmt: skip


def status(*, well: bool, reverted: bool = False) -> dict[str, Any]:
    """A gateway as its daemon reports it."""
    devices = [
        _device("meter-main", "sdm630", "rs485-1/1"),
        _device("meter-lamps", "sdm120", "rs485-1/2", "ok" if well else "dead"),
        _device("air-roof", "pms5003", "uart-1"),
    ]
    return {
        "schema": "lamppost.status/1", "via": "daemon", "version": "0.1.0", "gateway": "lamp-post-17",
        "hub": "hub.city.example", "up_seconds": 266_400.0, "clock": "synced",
        "ring": {"state": "ok", "appended": 1_204_511, "waiting": 48, "evicted": 0, "held": 1,
                 "bytes_used": 30_000_000, "bytes_limit": 67_108_864, "pending": 0, "overflowed": 0},
        "uplink": {"mode": "hub", "state": "connected", "code": None, "message": "", "hint": "",
                   "batches_sent": 4440, "batches_resent": 2, "bytes_sent": 9_120_000, "receipts_verified": 4439,
                   "last_receipt_seconds_ago": 31.0, "since_seconds_ago": 86_500.0, "held": 1},
        "buses": [
            {"name": "rs485-1", "kind": "modbus-rtu", "where": "/dev/ttyUSB0", "state": "ok", "opened": 1,
             "leased": False, "stray": 0, "fault": {"code": "", "why": "", "hint": ""}},
            {"name": "uart-1", "kind": "serial", "where": "/dev/ttyAMA0", "state": "ok", "opened": 1,
             "leased": False, "stray": 0, "fault": {"code": "", "why": "", "hint": ""}},
        ],
        "devices": devices, "alerts": [], "maintenance": {},
        "configuration": {"state": "local", "runs": {}, "last": _LAST if reverted else {}, "refused": {}, "fault": {}},
    }  # fmt: skip


def facts() -> Facts:
    """A cabinet with a weak supply and a wrong speed, as a bundle brings it."""
    silent = f.Trial(line="9600 8N1", outcome="silent")
    good = f.Trial(line="19200 8N1", outcome="good", ms=12.0, values=[17254, 13107])
    meter = f.Unit(device="meter-lamps", model="sdm120", unit=2, trials=[silent] * 3, swept=[good])
    line = f.Line(
        link="rs485-1", kind="modbus-rtu", where="/dev/ttyUSB0", line="9600 8N1", timeout=0.3,
        tested=True, units=[meter],
    )  # fmt: skip
    return Facts(
        at=NOW,
        host=f.Host(load=0.3, cores=4, memory_free=300, memory_total=900, celsius=51.0),
        power=0x50005,
        mounts=[f.Mount(path="/var/lib/lamppost", free=9000, total=29000)],
        clock=f.Clock(state="synced", now=NOW * 10**9, floor=(NOW - 900) * 10**9),
        config=f.Config(
            file="/etc/lamppost/site.toml", gateway="lamp-post-17", hub="hub.city.example"
        ),
        status=status(well=True),
        lines=[line],
    )


def scenes(folder: Path) -> dict[str, tuple[list[str], bool | None]]:
    """Name, arguments, and whether a daemon answers: well, not well, not at all."""
    packed = folder / "bundle.tar.gz"
    content = {"facts.json": f.encode(facts())}
    packed.write_bytes(bundle.pack(content, NOW, ()))
    where = ["--socket", str(folder / "s"), "--state", str(folder / "state")]
    site = folder / "site.toml"
    site.write_text(_SITE)
    return {
        "status-ok": (["status", *where], True),
        "status-problem": (["status", *where], False),
        "status-no-daemon": (["status", *where], None),
        "status-reverted": (["status", *where], True),
        "error": (
            ["bus", "raw", "--link", "rs485-1", "010600000001", "--site", str(site), *where],
            None,
        ),
        "usage-error": (["bus", "scan", "--link", "zz", "--site", str(site), *where], None),
        "doctor": (["bundle", "inspect", str(packed)], None),
        "explain": (["explain", "bus.silent-unit"], None),
        "watch": (["watch", "-n", "1", "--socket", str(folder / "s")], True),
        "uplink-status": (["uplink", "status", "--socket", str(folder / "s")], True),
        "usage": (["bus", "probe", "--help"], None),
        "status-json": (["status", "--json", *where], True),
        "status-no-daemon-json": (["status", "--json", *where], None),
        "doctor-json": (["bundle", "inspect", "--json", str(packed)], None),
        "explain-json": (["explain", "--json", "bus.echo"], None),
        "uplink-status-json": (["uplink", "status", "--json", "--socket", str(folder / "s")], True),
        "watch-ndjson": (["watch", "--ndjson", "-n", "1", "--socket", str(folder / "s")], True),
    }


def captures() -> Iterator[tuple[str, bytes]]:
    """File name and bytes of every capture."""
    with tempfile.TemporaryDirectory(prefix="cap") as scratch:
        folder = Path(scratch)
        for name, (words, well) in scenes(folder).items():
            says = status(well=bool(well), reverted=name == "status-reverted")
            daemon = _daemon(folder / "s", says) if well is not None else 0
            for_machines = name.endswith("json")
            for term in TERMS[1:2] if for_machines else TERMS:
                for width in WIDTHS[:1] if for_machines else WIDTHS:
                    shown = _run(words, term, width).replace(scratch.encode(), b"/tmp/t")
                    yield f"{name}.{term}.{width}", shown
            if daemon:
                os.kill(daemon, signal.SIGKILL)
                os.waitpid(daemon, 0)
                (folder / "s").unlink()


def _daemon(path: Path, says: dict[str, Any]) -> int:
    """A process that answers every question with the same status."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen(8)
    child = os.fork()
    if child:
        door.close()
        return child
    while True:
        line, _ = door.accept()
        line.recv(4096)
        line.sendall(json.dumps(says).encode() + b"\n")
        line.close()


def _act(words: list[str], term: str, width: int) -> NoReturn:
    """In the child: the command, then its exit code as a line of its own."""
    code: object = 1
    try:
        termios.tcsetwinsize(0, (24, width))
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            os.environ.pop(name, None)
        os.environ.update(TERM=term, TZ="UTC")
        encoding = "utf-8" if term == "xterm-256color" else "ascii"
        terminal = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(terminal, encoding=encoding, line_buffering=True)
        main(words)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - the child must not go on as a second test run
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os.write(1, f"[exit {code}]\n".encode())
        os._exit(0)


def _run(words: list[str], term: str, width: int) -> bytes:
    """The bytes that a command sends to its terminal."""
    child, master = pty.fork()
    if child == 0:
        _act(words, term, width)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is gone
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    os.waitpid(child, 0)
    return shown.replace(b"\r\n", b"\n")


def run() -> None:
    """Write, or name what differs."""
    different = {}
    for name, shown in captures():
        path = HERE / f"{name}.txt"
        if "--write" in sys.argv:
            path.write_bytes(shown)
        elif not path.exists() or path.read_bytes() != shown:
            different[name] = shown.decode("utf-8", "replace")
    print(json.dumps(different))


if __name__ == "__main__":
    run()
