"""The processes of the demo in one folder: made, started, stopped, and asked how they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HUB_ID = "hub.demo"
GATEWAY = "gw-demo"

SITE = """\
# The demo's gateway: one RS-485 line with two meters and a dead one, and a particle sensor.
[site]
gateway = "{gateway}"
hub = "{hub}"
place = {{ longitude = 13.3777, latitude = 52.5163 }}
source = "Lamppost demo"

[time]
unsynced = "send"        # a laptop or a CI machine may have no NTP

[ring]
size = "8MiB"

[aggregate]
window = "10s"
grace = "1s"

[uplink]
host = "localhost"
port = {port}
receipt_timeout = "5s"
drain = "20s"

[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "{folder}/rs485-1"
baud = 9600              # set on the keys of both meters; an SDM120 leaves the factory with 2400

[[link]]
name = "uart-1"
kind = "serial"
port = "{folder}/uart-1"

[[device]]
name = "meter-main"
model = "sdm630"
link = "rs485-1"
unit = 1
every = "1s"

[[device]]
name = "meter-lamps"
model = "sdm120"
link = "rs485-1"
unit = 2
every = "1s"

[[device]]
name = "meter-dead"
model = "sdm120"
link = "rs485-1"
unit = 3
every = "1s"

[[device]]
name = "air-roof"
model = "pms5003"
link = "uart-1"
every = "1s"
"""

CABINET = Path(__file__).parents[1] / "sites" / "cabinet.toml"


class BenchError(RuntimeError):
    """A part of the demo did not start; the message carries the end of its log."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def ask(path: Path, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any] | None:
    """One JSON line to a unix socket and its answer, or None when nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout)
            line.connect(str(path))
            line.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(line.makefile("rb").readline())
    except (OSError, ValueError):
        return None
    return answer


class Bench:
    """Owns the folder and every process in it; ends only what it started, by its id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = folder / "hub"
        self.gateway_state = folder / "gateway"
        self.control = folder / "gateway.sock"
        self.cabinet_control = folder / "cabinet.sock"
        self.site_file = folder / "site.toml"
        self.port = free_port()
        self.sinks: tuple[str, ...] = ()
        self.apart = False
        """Whether a Ctrl-C is for the caller alone, who then ends the parts in their order."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self, site: str = SITE, cabinet: Path = CABINET) -> None:
        """Keys, certificates, broker settings and the site file, by the product's own commands."""
        self.command("lamppost-hub", "init", self.hub, "--id", HUB_ID, "--host", "localhost",
                      "--port", self.port)  # fmt: skip
        self.command("lamppost-hub", "broker-config", self.hub, "--port", self.port)
        self.command("lamppost", "enrol", GATEWAY, "--local", self.hub, "--state",
                      self.gateway_state)  # fmt: skip
        self.site_file.write_text(
            site.format(gateway=GATEWAY, hub=HUB_ID, port=self.port, folder=self.folder)
        )
        shutil.copy(cabinet, self.folder / "cabinet.toml")

    def technician(self) -> Path:
        """A file to be sourced: with it `lamppost` speaks to this gateway, and `lamppost-sim tell` to its cabinet."""
        path = self.folder / "technician.env"
        where = {
            "SOCKET": self.control, "STATE": self.gateway_state, "SITE": self.site_file,
            "SIM": self.cabinet_control,
        }  # fmt: skip
        path.write_text("".join(f"export LAMPPOST_{k}={v}\n" for k, v in where.items()))
        return path

    def start_cabinet(self) -> None:
        """The simulated lines and devices."""
        self._start("cabinet", "python", "-m", "hwsim.site", self.folder / "cabinet.toml",
                    "--control", self.cabinet_control)  # fmt: skip
        self._await("cabinet", lambda: ask(self.cabinet_control, {"do": "stats"}) is not None)

    def start_broker(self) -> None:
        """Debian's Mosquitto."""
        self._start("broker", "mosquitto", "-c", self.hub / "broker" / "mosquitto.conf")
        self._await("broker", lambda: _listens(self.port))

    def start_receiver(self) -> None:
        """`lamppost-hub receive`, to its own sink, or to those named in `sinks`."""
        options = [word for sink in self.sinks for word in ("--sink", sink)]
        self._start("receiver", "lamppost-hub", "receive", self.hub, *options)
        self._await("receiver", lambda: "ready" in self.log("receiver"))

    def start_gateway(self) -> None:
        """`lamppost run`."""
        self._start("gateway", "lamppost", "run", self.site_file, "--state", self.gateway_state,
                    "--socket", self.control)  # fmt: skip
        self._await("gateway", lambda: self.status() is not None)

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM, timeout: float = 40.0) -> None:
        """End one process and wait until it is gone."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End everything that still runs, the newest first."""
        for name in reversed(list(self._processes)):
            self.stop(name, timeout=10)

    def alive(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def pid(self, name: str) -> int:
        """The process id of a running part."""
        return self._processes[name].pid

    def status(self) -> dict[str, Any] | None:
        """What the gateway says of itself, or None while it does not answer."""
        return ask(self.control, {"do": "status"})

    def connected(self) -> bool:
        """Whether the gateway's uplink stands. Only then does a stop send what is left."""
        return bool((self.status() or {}).get("uplink", {}).get("state") == "connected")

    def fleet(self) -> dict[str, Any]:
        """What the hub holds."""
        return self._json("lamppost-hub", "fleet", "show", self.hub, "--json")

    def buffer(self) -> dict[str, Any]:
        """What the gateway's ring holds, read from its files when the daemon is gone."""
        return self._json("lamppost", "buffer", "status", "--state", self.gateway_state,
                          "--socket", self.control, "--json")  # fmt: skip

    def cabinet(self, do: str, **words: Any) -> dict[str, Any]:
        """Tell the simulated cabinet to do something to its wires."""
        return ask(self.cabinet_control, {"do": do, **words}) or {}

    def log(self, name: str) -> str:
        """What a process has written so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def command(self, *words: object) -> str:
        """Run one of the product's commands; raises BenchError with what it printed."""
        done = subprocess.run(
            [str(w) for w in words], capture_output=True, text=True, check=False, env=_environment()
        )
        if done.returncode != 0:
            shown = " ".join(str(w) for w in words)
            raise BenchError(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _json(self, *words: object) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command(*words))
        return found

    def _start(self, name: str, *words: object) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(w) for w in words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                process_group=0 if self.apart else None,
            )

    def _await(self, name: str, ready: Any, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.alive(name) or time.monotonic() > deadline:
                raise BenchError(f"{name} did not start:\n{self.log(name)[-2000:]}")
            time.sleep(0.05)


def _environment() -> dict[str, str]:
    """Ours, with the commands of this Python's environment and Debian's servers in reach."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"]
    )
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
