"""A running gateway without a hub, on simulated lines, and its command line as a technician types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwsim.demo.bench import ask

SITE = """\
[site]
gateway = "gw-1"
hub = "hub.city"
[time]
unsynced = "send"
[ring]
size = "2MiB"
[uplink]
host = "127.0.0.1"
port = 9
[[link]]
name = "a"
kind = "modbus-rtu"
port = "{folder}/a"
baud = 9600
[[device]]
name = "m1"
model = "sdm630"
link = "a"
unit = 1
every = "500ms"
points = ["voltage.l1", "power", "frequency"]
[[device]]
name = "m2"
model = "sdm120"
link = "a"
unit = 2
every = "500ms"
points = ["voltage", "power"]
"""


class Told:
    """What a command printed, and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str], seconds: float) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.seconds = seconds

    @property
    def lines(self) -> list[str]:
        """Lines of stdout."""
        return self.out.splitlines()

    @property
    def verdict(self) -> str:
        """The last line."""
        return self.lines[-1] if self.lines else ""

    def json(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


class Desk:
    """A folder with a site file, and `lamppost` pointed at it."""

    def __init__(self, folder: Path, site: str = SITE) -> None:
        self.folder = folder
        self.socket = folder / "gw.sock"
        self.state = folder / "state"
        self.site = folder / "site.toml"
        self.site.write_text(site.replace("{folder}", str(folder)), encoding="utf-8")
        self.env = {
            **os.environ,
            "LAMPPOST_SOCKET": str(self.socket),
            "LAMPPOST_STATE": str(self.state),
            "LAMPPOST_SITE": str(self.site),
            "TERM": "dumb",
            "COLUMNS": "80",
            "PYTHONIOENCODING": "utf-8",
        }

    def lamppost(
        self,
        *words: object,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **how: Any,
    ) -> Told:
        """Run a command to its end; `prefix` makes it another user's, say."""
        began = time.monotonic()
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "lamppost.cli", *map(str, words)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**self.env, **(env or {})},
            timeout=60,
            check=False,
            **how,
        )
        return Told(done, time.monotonic() - began)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon, until the end of the block."""
        with (self.folder / "gw.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lamppost.cli", "run", str(self.site)],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.wait(lambda: self.status() is not None, "the daemon answers")
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def status(self) -> dict[str, Any] | None:
        """What the daemon says, or None."""
        return ask(self.socket, {"do": "status"}, 2.0)

    def states(self) -> dict[str, str]:
        """State by device."""
        return {d["name"]: d["state"] for d in (self.status() or {}).get("devices", ())}

    def wait(self, true: Any, what: str, timeout: float = 30.0) -> None:
        """Poll until it holds."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline:
                log = (self.folder / "gw.log").read_text(errors="replace")[-1500:]
                raise AssertionError(f"not seen within {timeout:g} s: {what}\n{log}")
            time.sleep(0.05)
