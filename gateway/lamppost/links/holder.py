"""Who holds a port: the lock file by which programs of the field tell one another, and what /proc knows.

UUCP lock files as in the File System Hierarchy Standard 3.0, clause 5.9: `/run/lock/LCK..ttyUSB0` holds the process
id in ten characters. The file is for people and other programs; the exclusion itself is flock and TIOCEXCL.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LOCKS = Path("/run/lock")


def lock_file(port: Path, folder: Path = LOCKS) -> Path:
    """Where the holder of `port` (a device node or a link to one) is named."""
    real = os.path.realpath(port)
    return folder / f"LCK..{real.removeprefix('/dev/').replace('/', '_')}"


def name_ourselves(port: Path, folder: Path = LOCKS) -> Path | None:
    """Write our process id; None where the folder is not ours to write, which does no harm."""
    path = lock_file(port, folder)
    try:
        path.write_text(f"{os.getpid():>10}\n", encoding="ascii")
    except OSError:
        return None
    return path


def unname(path: Path | None) -> None:
    """Take our lock file away."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def holder_of(port: Path, folder: Path = LOCKS) -> str:
    """The process that holds `port`, such as `minicom (process 812)`; empty if nobody can tell."""
    real = os.path.realpath(port)
    found = [*_from_proc(real), *_from_lock_file(port, folder)]
    return f"{_command(found[0])} (process {found[0]})" if found else ""


def _from_lock_file(port: Path, folder: Path) -> list[int]:
    try:
        process = int(lock_file(port, folder).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
    return [process] if Path(f"/proc/{process}").exists() else []


def _from_proc(real: str) -> list[int]:
    """Processes with `real` open, as far as we may look."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.readlink(folder / number) == real for number in os.listdir(folder)):
                found.append(int(folder.parent.name))
        except OSError:
            continue  # not ours to look at, or gone meanwhile
    return found


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "a process"
