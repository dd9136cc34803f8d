"""A gateway computer as its files and programs show it: firmware flags, network interfaces, a modem's stages.

`Machine(folder)` makes a root folder that is looked at in place of `/`, and a folder of programs for the front of PATH.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGES: Mapping[str, Mapping[str, Any]] = {
    "connected": {"state": "connected", "registration": "home", "signal": 71},
    "weak": {"state": "connected", "registration": "home", "signal": 12},
    "sim-missing": {"state": "failed", "failed": "sim-missing"},
    "sim-pin": {"state": "locked", "lock": "sim-pin"},
    "sim-puk": {"state": "locked", "lock": "sim-puk"},
    "searching": {"state": "searching", "registration": "searching", "signal": 0},
    "denied": {"state": "enabled", "registration": "denied", "signal": 50},
    "disabled": {"state": "disabled"},
    "no-data": {"state": "registered", "registration": "home", "signal": 60},
}
"""What ModemManager says at each stage at which a SIM can stop."""


class Machine:
    """A root folder and a folder of programs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.programs = folder / "bin"
        self.root.mkdir(parents=True)
        self.programs.mkdir()
        self.file("proc/loadavg", "0.20 0.30 0.25 1/120 999\n")
        self.file("proc/meminfo", "MemTotal:  1000000 kB\nMemAvailable:  600000 kB\n")
        self.interface("eth0")
        self.route("eth0")

    def file(self, path: str, content: str) -> None:
        """A file below the root."""
        made = self.root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(content, encoding="utf-8")

    def throttled(self, flags: int) -> None:
        """The firmware's flags, as a Raspberry Pi's kernel shows them."""
        self.file("sys/devices/platform/soc/soc:firmware/get_throttled", f"{flags:x}\n")

    def heat(self, celsius: float) -> None:
        """The processor's temperature."""
        self.file("sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}\n")

    def load(self, five_minutes: float) -> None:
        """How many processes wait."""
        self.file("proc/loadavg", f"9.9 {five_minutes} 3.0 9/120 999\n")

    def memory(self, free_kib: int, total_kib: int) -> None:
        """Available and whole memory."""
        self.file("proc/meminfo", f"MemTotal: {total_kib} kB\nMemAvailable: {free_kib} kB\n")

    def interface(self, name: str, *, carrier: bool = True) -> None:
        """A network interface."""
        self.file(f"sys/class/net/{name}/carrier", f"{int(carrier)}\n")
        self.file(f"sys/class/net/{name}/operstate", "up\n" if carrier else "down\n")

    def route(self, name: str) -> None:
        """The interface of the default route; "" for none."""
        head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        row = f"{name} 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n" if name else ""
        self.file("proc/net/route", head + row)

    def kernel_says(self, *lines: str) -> None:
        """Lines of the kernel's log."""
        self.file("var/log/kern.log", "\n".join(lines) + "\n")

    def mounted(self, path: Path, flags: str) -> None:
        """A row of the kernel's list of mounts."""
        self.file("proc/self/mounts", f"/dev/mmcblk0p2 {path} ext4 {flags} 0 0\n")

    def addresses(self, **by_interface: str) -> None:
        """What `ip -json address` says."""
        rows = [
            {"ifname": name, "addr_info": [{"local": at, "scope": "global"}] if at else []}
            for name, at in by_interface.items()
        ]
        self._program("ip", json.dumps(rows))

    def modem(self, stage: str) -> None:
        """`mmcli` as it speaks at a stage of STAGES; "absent" for a manager without a modem."""
        if stage == "absent":
            self._program("mmcli", json.dumps({"modem-list": []}))
            return
        how = STAGES[stage]
        told = {
            "modem": {
                "3gpp": {
                    "operator-name": "Example Mobile" if "registration" in how else "--",
                    "registration-state": how.get("registration", "--"),
                },
                "generic": {
                    "state": how["state"],
                    "state-failed-reason": how.get("failed", "--"),
                    "unlock-required": how.get("lock", "--"),
                    "access-technologies": ["lte"],
                    "signal-quality": {"recent": "yes", "value": str(how.get("signal", 0))},
                },
            }
        }
        listed = {"modem-list": ["/org/freedesktop/ModemManager1/Modem/0"]}
        script = f"case $1 in -L) echo '{json.dumps(listed)}';; *) echo '{json.dumps(told)}';; esac"
        self._script("mmcli", script)

    def _program(self, name: str, says: str) -> None:
        self._script(name, f"echo '{says}'")

    def _script(self, name: str, body: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
