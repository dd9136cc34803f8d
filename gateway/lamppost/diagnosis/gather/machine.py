"""The computer by its own files: load, memory, heat, the firmware's flags, disks, errors of the card, serial ports.

Everything is looked for below `root`, so that a card in a reader can be looked at too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import msgspec

from lamppost.diagnosis.facts import Host, Mount, Port
from lamppost.links import holder

ROOT = Path("/")
_MIB = 1024 * 1024
_WEEK = 168.0
_TROUBLE = re.compile(r"error|timeout|timed out|remount|aborted|failed", re.I)
_HARMLESS = re.compile(
    r"no support for card's volts|host does not support|cmd\d+ .*-110.*init", re.I
)
_SERIAL = ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS[0-9]", "ttySC*", "serial[0-9]")


def text(path: Path) -> str:
    """A small file, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def host(root: Path = ROOT) -> Host:
    """Board, load, memory, heat."""
    load = text(root / "proc/loadavg").split()
    memory = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB", text(root / "proc/meminfo")))
    heat = text(root / "sys/class/thermal/thermal_zone0/temp")
    release = dict(
        line.split("=", 1) for line in text(root / "etc/os-release").splitlines() if "=" in line
    )
    return Host(
        board=text(root / "proc/device-tree/model"),
        system=release.get("PRETTY_NAME", "").strip('"'),
        load=float(load[1]) if len(load) > 1 else 0.0,
        cores=os.cpu_count() or 1,
        memory_free=int(memory["MemAvailable"]) // 1024 if "MemAvailable" in memory else None,
        memory_total=int(memory["MemTotal"]) // 1024 if "MemTotal" in memory else None,
        celsius=int(heat) / 1000 if heat.lstrip("-").isdigit() else None,
    )


def power(root: Path = ROOT) -> int | None:
    """The firmware's flags (as `vcgencmd get_throttled`), or of an under-voltage sensor only its one flag."""
    for path in sorted((root / "sys/devices/platform").glob("soc*/*firmware*/get_throttled")):
        try:
            return int(text(path), 16)
        except ValueError:
            continue
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text(folder / "name") == "rpi_volt" and (alarm := text(folder / "in0_lcrit_alarm")):
            return 1 if alarm == "1" else 0
    return None


def mount(path: Path, root: Path = ROOT) -> Mount | None:
    """The disk under `path`, or under the nearest folder above that is there."""
    here = path
    while not here.exists() and here != here.parent:
        here = here.parent
    try:
        found = os.statvfs(here)
    except OSError:
        return None
    read_only = bool(found.f_flag & os.ST_RDONLY) or _remounted(here, root)
    return Mount(
        path=str(path),
        free=found.f_bavail * found.f_frsize // _MIB,
        total=found.f_blocks * found.f_frsize // _MIB,
        inodes_free=found.f_favail,
        inodes=found.f_files,
        read_only=read_only,
    )


def remembered(mounts: list[Mount], memory: Path | None, now: int) -> list[Mount]:
    """The mounts with how much room there was before, by a file of this user's, which is then brought up to date.

    The oldest look of the last week is kept: days tell more of a pace than minutes.
    """
    if memory is None:
        return mounts
    try:
        before = json.loads(memory.read_bytes())
        known = {path: (int(at), int(free)) for path, (at, free) in before.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        known = {}
    found = []
    for each in mounts:
        at, free = known.get(each.path, (now, each.free))
        hours = (now - at) / 3600
        found.append(msgspec.structs.replace(each, earlier_free=free, earlier_hours=hours))
        if not 0 <= hours <= _WEEK:
            known.pop(each.path, None)
        known.setdefault(each.path, (now, each.free))
    with contextlib.suppress(OSError):  # nothing is lost but a pace
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps(known), encoding="utf-8")
    return found


def _remounted(path: Path, root: Path) -> bool:
    """Whether the mount that holds `path` is read-only by the kernel's list."""
    return "ro" in _row(path, root)[1].split(",")


def _row(path: Path, root: Path) -> tuple[str, str]:
    """Device and flags of the mount that holds `path`, by the kernel's list."""
    best, found = "", ("", "")
    for line in text(root / "proc/self/mounts").splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        point = words[1].replace("\\040", " ")
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, (words[0], words[3])
    return found


def card_errors(lines: list[str], path: Path, root: Path = ROOT) -> list[str]:
    """Lines of the kernel's log that speak of trouble with the disk under `path`; of no other disk."""
    device = Path(_row(path, root)[0]).name
    base = re.sub(r"(?<=[a-z])\d+$|(?<=\d)p\d+$", "", device)
    if not device or not base[-1:].isalnum() or "/" not in _row(path, root)[0]:
        return []
    words = [base, *([f"mmc{base[-1]}:"] if base.startswith("mmcblk") else [])]
    mine = re.compile("|".join(rf"\b{re.escape(word)}" for word in words))
    return [
        line.strip()[:120]
        for line in lines
        if mine.search(line) and _TROUBLE.search(line) and not _HARMLESS.search(line)
    ]


def ports(root: Path = ROOT) -> list[Port]:
    """Serial ports by their lasting names, with who uses them."""
    by_node: dict[str, str] = {}
    for link in sorted((root / "dev/serial/by-id").glob("*")):
        by_node.setdefault(os.path.realpath(link), str(link))
    for pattern in _SERIAL:
        for node in sorted((root / "dev").glob(pattern)):
            if pattern == "ttyS[0-9]" and not _is_real(node, root):
                continue
            by_node.setdefault(os.path.realpath(node), str(node))
    return [_port(node, name, root) for node, name in sorted(by_node.items())]


def _is_real(node: Path, root: Path) -> bool:
    """A PC lists 32 UARTs that are not there: their type is 0."""
    return text(root / f"sys/class/tty/{node.name}/type") not in ("", "0")


def _port(node: str, name: str, root: Path) -> Port:
    use, proof = used_by_system(Path(node), Path(name).name, root)
    return Port(name=name, node=node, holder=holder.holder_of(Path(node)), use=use, proof=proof)


def used_by_system(node: Path, name: str, root: Path = ROOT) -> tuple[str, str]:
    """Whether the kernel's console or the Bluetooth chip sits on a UART: what it is, and what proves it."""
    aliases = {node.name, name}
    for alias in ("serial0", "serial1"):
        if (root / "dev" / alias).exists() and os.path.realpath(root / "dev" / alias) == str(node):
            aliases.add(alias)
    command = text(root / "proc/cmdline")
    for name in re.findall(r"console=([A-Za-z]+\d+)", command):
        if name in aliases:
            return "serial console", f"console={name} in the kernel's command line"
    # A serial device of the kernel (Bluetooth on most boards) is a child of the port.
    for child in sorted((root / f"sys/class/tty/{node.name}/device").glob("serial*-*")):
        if "bluetooth" in text(child / "modalias").lower() or (child / "bluetooth").exists():
            return "line of the Bluetooth chip", f"{child.name} is Bluetooth"
    return "", ""
