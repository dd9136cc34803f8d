"""`lamppost device sim`: let a simulated device answer as a model's vectors say. The simulator is another program."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click

from lamppost.cli.device_cabinet import cabinet, fragment, site
from lamppost.errors import SiteError
from lamppost_drivers.contract import Driver

PROGRAM = "lamppost-sim"
_MARK = "# made by lamppost device sim\n"
_FILES = ("cabinet.toml", "cabinet.site.toml", "site.toml")


def simulate(
    driver: Driver, folder: Path, unit: int, seconds: str | None, maps: Path | None
) -> int:
    """Write cabinet and site file into `folder`, print the site's part, and run the simulator; its exit code."""
    program = _program()
    plan, text = cabinet(driver, unit), site(driver, unit, maps.absolute() if maps else None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_others(folder)
        file = folder / "cabinet.toml"
        file.write_text(_MARK + plan, encoding="utf-8")
        file.with_suffix(".site.toml").write_text(_MARK + text, encoding="utf-8")
    except OSError as wrong:
        raise click.UsageError(f"cannot write into {folder}: {wrong.strerror}") from None
    click.echo("for a site file:\n")
    click.echo(fragment(driver, unit).replace("{folder}", str(folder.absolute())))
    command = [*program, "run", str(file), "--at", str(folder)]
    process = subprocess.Popen([*command, "--for", seconds] if seconds else command)
    # Ctrl-C reaches both of us; the simulator ends by itself, and we with it.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


def _refuse_others(folder: Path) -> None:
    """Overwrite nothing but what an earlier run made. Raises UsageError."""
    for name in _FILES:
        file = folder / name
        if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(
            _MARK
        ):
            raise click.UsageError(f"{file} is there already; name another folder with --at")


def _program() -> list[str]:
    """Where the simulator is: in the path, or beside this Python. Raises SiteError `device.no-simulator`."""
    beside = Path(sys.executable).parent / PROGRAM
    found = shutil.which(PROGRAM) or (str(beside) if beside.exists() else None)
    if found is None:
        raise SiteError(
            f"the program {PROGRAM} is not installed here",
            code="device.no-simulator",
            hint="pip install 'lamppost[sim]' on a laptop; a gateway does not need it",
        )
    return [found]
