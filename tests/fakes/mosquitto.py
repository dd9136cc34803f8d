"""Debian's Mosquitto on a free loopback port, with the settings that the wire format asks for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

ACL = """\
pattern write lamppost/%u/up
pattern write lamppost/%u/state
pattern write lamppost/%u/alert
pattern read lamppost/%u/down
user hub
topic read lamppost/+/up
topic read lamppost/+/state
topic read lamppost/+/alert
topic write lamppost/+/down
"""


def program() -> str:
    """Path of mosquitto, or a skip that says what to install."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        pytest.skip("Debian's mosquitto is not installed (apt-get install mosquitto)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """One broker process; `start` and `kill` may alternate, the port stays."""

    def __init__(
        self, folder: Path, ca: Path, certificate: Path, key: Path, tls: str = "tlsv1.3"
    ) -> None:
        self._program = program()
        self.port = free_port()
        acl = folder / "acl"
        acl.write_text(ACL)
        acl.chmod(0o700)
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous false",
            f"cafile {ca}",
            f"certfile {certificate}",
            f"keyfile {key}",
            f"tls_version {tls}",
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",
            f"acl_file {acl}",
            "max_packet_size 1048576",
        ]
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        self._config.write_text("\n".join(lines) + "\n")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"mosquitto did not start: {self._log.read_text()}")

    def freeze(self) -> None:
        """It stops reading and answering, but the kernel keeps its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a power cut: no goodbye. Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
