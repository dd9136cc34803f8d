"""All drivers by model: code drivers, built-in register maps, and the maps that a site brings.

Maps are read when they are first asked for; the index needs only the first line of each file, `model = "…"`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from lamppost_drivers.air import (
    bme280,
    bme680,
    honeywell,
    mcu680,
    nova,
    plantower,
    scd4x,
    sen5x,
    sht4x,
    sps30,
    winsen,
)
from lamppost_drivers.ble import bthome, ruuvi
from lamppost_drivers.contract import Driver
from lamppost_drivers.electricity import p1, sunspec
from lamppost_drivers.flow import loop, maxbotix, pulse, ultrasonic
from lamppost_drivers.mapfile import LIMIT, MapError, load
from lamppost_drivers.mbus import meter

_CODE = (
    plantower,
    nova,
    sps30,
    sen5x,
    scd4x,
    sht4x,
    bme280,
    bme680,
    winsen,
    honeywell,
    mcu680,
    sunspec,
    p1,
    pulse,
    maxbotix,
    ultrasonic,
    loop,
    meter,
    bthome,
    ruuvi,
)

_FIRST_LINE = re.compile(rb'model\s*=\s*"([a-z0-9][a-z0-9_-]*)"')


class UnknownModel(KeyError):
    """No driver knows this model; `close` holds the nearest names, `nearest` the first of them or None."""

    def __init__(self, model: str, close: tuple[str, ...]) -> None:
        super().__init__(model)
        self.model = model
        self.close = close
        self.nearest = close[0] if close else None

    def __str__(self) -> str:
        hint = f"; nearest: {', '.join(self.close)}" if self.close else ""
        return f"no driver for model {self.model!r}{hint}"


class Library(Mapping[str, Driver]):
    """Drivers by model. Immutable but for maps read on demand; site maps stand before built-in drivers."""

    def __init__(self, drivers: Iterable[Driver], files: Mapping[str, Traversable]) -> None:
        self._drivers = {driver.model: driver for driver in drivers if driver.model not in files}
        self._files = dict(files)

    def __getitem__(self, model: str) -> Driver:
        """The driver of a model. Raises UnknownModel, or MapError where its map file is wrong."""
        if model in self._drivers:
            return self._drivers[model]
        if model not in self._files:
            close = difflib.get_close_matches(model.lower(), list(self), n=3, cutoff=0.5)
            raise UnknownModel(model, tuple(close))
        file = self._files[model]
        self._drivers[model] = driver = load(_read(file), file.name)
        return driver

    def __contains__(self, model: object) -> bool:
        return model in self._drivers or model in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._drivers.keys() | self._files.keys()))

    def __len__(self) -> int:
        return len(self._drivers.keys() | self._files.keys())

    def find(self, model: str) -> Driver:
        """The driver of a model. Raises UnknownModel with the nearest names."""
        return self[model]

    def models(self) -> tuple[str, ...]:
        """All models, sorted."""
        return tuple(self)

    def with_site_maps(self, folder: Traversable) -> Library:
        """A library in which the `*.toml` maps of a site's folder override built-in drivers of the same model.

        A missing folder is an empty one. Raises MapError where a file does not begin with its model.
        """
        files = index(folder) if folder.is_dir() else {}
        kept = {model: self._files[model] for model in self._files if model not in files}
        code = (driver for model, driver in self._drivers.items() if model not in self._files)
        return Library(code, kept | files)


def index(folder: Traversable) -> dict[str, Traversable]:
    """Map files of a folder by model. Raises MapError where a first line is no model, or a model stands twice."""
    files: dict[str, Traversable] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml") or not file.is_file():
            continue
        with file.open("rb") as opened:
            first = _FIRST_LINE.match(opened.readline(200))
        if first is None:
            raise MapError(f'{file.name}: the first line must be model = "..."')
        model = first[1].decode("ascii")
        if model in files:
            raise MapError(f"{file.name}: model {model!r} stands in {files[model].name} too")
        files[model] = file
    return files


def _read(file: Traversable) -> bytes:
    with file.open("rb") as opened:
        return bytes(opened.read(LIMIT + 1))


LIBRARY = Library(
    (driver for module in _CODE for driver in module.DRIVERS),
    index(resources.files("lamppost_drivers").joinpath("maps")),
)


def find(model: str) -> Driver:
    """The built-in driver of a model. Raises UnknownModel (a KeyError) with the nearest names."""
    return LIBRARY.find(model)


def models() -> tuple[str, ...]:
    """All built-in models, sorted."""
    return LIBRARY.models()


def with_site_maps(folder: Traversable) -> Library:
    """The built-in library with the maps of a site's folder in front."""
    return LIBRARY.with_site_maps(folder)
