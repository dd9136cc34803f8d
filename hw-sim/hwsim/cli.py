"""`lamppost-sim`: simulated cabinets for a gateway on the same machine.

lamppost-sim run FILE.toml [--at FOLDER] [--for 5min]     a scenario, with the site file that fits it
lamppost-sim tell unplug rs485-1 [--at FOLDER]            do something to a cabinet that runs
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hwsim.cabinet import Cabinet, SiteFileError
from hwsim.preload import PreloadError, environment
from hwsim.site import Script, seconds_of, serve
from hwsim.tell import add as add_tell
from hwsim.tell import tell

BOARD = {"RPI_LGPIO_REVISION": "c03114", "RPI_LGPIO_CHIP": "0"}
"""rpi-lgpio asks which board it runs on; this is a Raspberry Pi 4."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script: 0 when ended, 2 where a file cannot be played."""
    given = _parser().parse_args(arguments)
    if given.what == "tell":
        return tell(given.do, given.words, given.at)
    try:
        return _run(given.file, given.at or Path(f"sim-{given.file.stem}"), given.seconds)
    except (OSError, ValueError, PreloadError) as error:
        print(f"PROBLEM {given.file}: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lamppost-sim", description="Simulated cabinets.")
    words = parser.add_subparsers(dest="what", required=True)
    made = words.add_parser("run", help="play a scenario file", description="play a scenario file")
    made.add_argument("file", type=Path)
    made.add_argument("--at", type=Path, help="folder of the device paths, made if needed")
    made.add_argument("--for", dest="seconds", type=_span, help="how long, such as 5min")
    add_tell(words)
    return parser


def _span(text: str) -> float:
    try:
        return seconds_of(text)
    except SiteFileError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def _run(file: Path, at: Path, seconds: float | None) -> int:
    cabinet = Cabinet.load(file, at)
    Script(cabinet)  # a wrong event is refused before a path is made
    return _play(cabinet, at, seconds, file.with_suffix(".site.toml"))


def _play(cabinet: Cabinet, at: Path, seconds: float | None, site: Path | None) -> int:
    at.mkdir(parents=True, exist_ok=True)
    folder = at.absolute()
    control = folder / "sim.sock"
    ready = partial(_ready, cabinet, folder, site)
    asyncio.run(serve(cabinet, control, ready=ready, seconds=seconds))
    print("OK ended")
    return 0


def _ready(cabinet: Cabinet, folder: Path, site: Path | None) -> str:
    """What to say once everything stands; TCP servers have their ports only then."""
    said = [f"line    {line.path}" for line in cabinet.lines.values()]
    said += [f"tcp     {name} {s.host}:{s.port}" for name, s in cabinet.servers.items()]
    said += [f"radio   {name} {radio.address}" for name, radio in cabinet.radios.items()]
    if cabinet.board:
        said.append(f"board   {cabinet.board.folder}")
    shell = ""
    if env := _environment(cabinet):
        file = folder / "environment"
        file.write_text("".join(f"{key}={value}\n" for key, value in env.items()), encoding="utf-8")
        shell = f"env $(cat {file}) "
    if site is not None and site.exists():
        made = folder / "site.toml"
        made.write_text(placed(site.read_text(encoding="utf-8"), cabinet, folder))
        where = f"--state {folder}/state --socket {folder}/gateway.sock"
        said += ["in another terminal:", f"  {shell}lamppost run {made} {where}"]
        said += [
            f"  lamppost {what} --socket {folder}/gateway.sock" for what in ("status", "watch")
        ]
    return "\n".join([*said, f"ready   control {folder}/sim.sock, Ctrl-C ends it"])


def _environment(cabinet: Cabinet) -> dict[str, str]:
    """What a program needs to find this cabinet's pins, buses and radio, and parity on its ports."""
    env: dict[str, str] = {}
    if cabinet.board or any(line.form for line in cabinet.lines.values()):
        env |= environment(cabinet.board.folder if cabinet.board else None, {})
    if cabinet.board:
        env |= BOARD
    for radio in cabinet.radios.values():
        env["DBUS_SYSTEM_BUS_ADDRESS"] = radio.address
    return env


def placed(site: str, cabinet: Cabinet, folder: Path) -> str:
    """A scenario's site file with this run's folder and TCP ports."""
    site = site.replace("{folder}", str(folder))
    for name, server in cabinet.servers.items():
        site = site.replace(f'"{{port:{name}}}"', str(server.port))
    return site


if __name__ == "__main__":
    sys.exit(main())
