"""The C shim for LD_PRELOAD: parity on ptys, modem lines, and /dev/i2c-N and /dev/gpiochipN from a simulator.

Built with gcc on first use into the user's cache folder, named by the hash of its sources.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent
_PARTS = ("shim.h", "tty.c", "device.c", "hook.c")


class PreloadError(RuntimeError):
    """The shim could not be built; the message says what is missing."""


def library(cache: Path | None = None) -> Path:
    """The shared library, built if needed; raises PreloadError without a C compiler."""
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwsim"
    sources = b"".join((_FOLDER / part).read_bytes() for part in _PARTS)
    name = hashlib.sha256(sources + platform.machine().encode()).hexdigest()[:16]
    built = folder / f"libhwsim-{name}.so"
    if not built.exists():
        _build(built)
    return built


def environment(
    devices: Path | None = None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a program under the shim. `devices`: folder of the I2C and GPIO simulators' sockets."""
    env = dict(os.environ if base is None else base)
    env["LD_PRELOAD"] = ":".join(filter(None, (str(library()), env.get("LD_PRELOAD"))))
    if devices is not None:
        env["HWSIM_DEVICES"] = str(devices)
    return env


def _build(built: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise PreloadError("no C compiler: install gcc (Debian: apt install gcc libc6-dev)")
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
        made = Path(scratch) / built.name
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            str(made),
        ]
        command += [str(_FOLDER / part) for part in _PARTS if part.endswith(".c")]
        done = subprocess.run(
            [*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PreloadError(f"gcc failed:\n{done.stderr}")
        os.replace(made, built)
