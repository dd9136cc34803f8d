"""A private dbus-daemon, so that bleak and others talk to our BlueZ instead of the machine's. Needs no root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class BusError(RuntimeError):
    """The bus did not start; the message says what is missing."""


class PrivateBus:
    """A message bus with its socket in `folder`; also a context manager."""

    def __init__(self, folder: Path) -> None:
        daemon = shutil.which("dbus-daemon")
        if daemon is None:
            raise BusError("no dbus-daemon (Debian: apt install dbus-daemon)")
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "bus.conf"
        config.write_text(_CONFIG.format(socket=folder / "bus"), encoding="utf-8")
        command = [daemon, f"--config-file={config}", "--nofork", "--print-address=1"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            self.close()
            raise BusError(f"dbus-daemon did not start with {config}")

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for a program that shall find this bus as the system's."""
        return {**(os.environ if base is None else base), "DBUS_SYSTEM_BUS_ADDRESS": self.address}

    def close(self) -> None:
        """End the bus; every connection to it breaks."""
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> PrivateBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
