"""A site file with the register maps that stand beside it: what `config check` and the daemon both read.

`[drivers] maps = "folder"` names the folder, relative to the site file; without it `maps` beside the file is used
where it is there. A site's map stands before a built-in one of the same model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from lamppost.acquire.registry import Registry
from lamppost.config import load
from lamppost.config.problems import Problem, SiteInvalid
from lamppost.config.schema import Site
from lamppost_drivers.mapfile import LIMIT, MapError, problems

FOLDER = "maps"


def read(file: Path) -> tuple[Site, Registry]:
    """The site and the drivers it may use. Raises SiteInvalid for the file and for any map beside it, OSError."""
    return parse(file.read_bytes(), file)


def parse(raw: bytes, file: Path) -> tuple[Site, Registry]:
    """The same for bytes that stand in for `file`: maps are looked for beside it. Raises SiteInvalid."""
    folder, named = _folder(raw, file)
    registry = Registry.load()
    if named and not folder.is_dir():
        raise SiteInvalid([Problem("drivers.maps", str(folder), "no such folder")])
    if folder.is_dir():
        if wrong := list(_wrong(folder)):
            raise SiteInvalid(wrong)
        try:
            registry = Registry.load(folder)
        except MapError as twice:  # two files of one model, or a first line that names none
            raise SiteInvalid([Problem(f"{folder.name}/", "", str(twice))]) from None
    return load.site(raw, registry.find), registry


def _folder(raw: bytes, file: Path) -> tuple[Path, bool]:
    """The folder of maps, and whether the site names it. What is wrong with the file itself is told elsewhere."""
    try:
        table = tomllib.loads(raw.decode("utf-8-sig")).get("drivers")
    except (ValueError, RecursionError):
        table = None
    named = table.get("maps") if isinstance(table, dict) else None
    if not isinstance(named, str):
        return file.parent / FOLDER, False
    return file.parent / named, True


def _wrong(folder: Path) -> Iterator[Problem]:
    for file in sorted(folder.glob("*.toml")):
        where = f"{folder.name}/{file.name}"
        try:
            with file.open("rb") as opened:
                said = problems(opened.read(LIMIT + 1), file.name)
        except OSError as unreadable:
            yield Problem(where, "", f"cannot be read: {unreadable.strerror}")
            continue
        yield from (Problem(where, "", line.removeprefix(f"{file.name}: ")) for line in said)
