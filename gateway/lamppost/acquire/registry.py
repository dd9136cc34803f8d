"""Model name → driver. Other packages add drivers through the entry-point group `lamppost.drivers`.

An entry point names a mapping of models to drivers, as `lamppost_drivers.library:LIBRARY` is one.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from lamppost_drivers import library
from lamppost_drivers.contract import Driver
from lamppost_drivers.library import UnknownModel

GROUP = "lamppost.drivers"
_log = logging.getLogger(__name__)


class Registry:
    """All drivers this gateway knows. Of two of one model the one found first counts: site maps, ours, others'."""

    def __init__(self, libraries: Sequence[Mapping[str, Driver]]) -> None:
        self._libraries = tuple(libraries)

    @classmethod
    def load(cls, site_maps: Path | None = None) -> Registry:
        """The built-in drivers, what installed packages bring, and the register maps in the folder `site_maps`.

        Raises lamppost_drivers.mapfile.MapError where a site's map has no model or one model stands in two files.
        """
        builtin = library.with_site_maps(site_maps) if site_maps is not None else library.LIBRARY
        others = []
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            found = _loaded(entry)
            if found is not None and found is not library.LIBRARY:
                others.append(found)
        return cls((builtin, *others))

    def find(self, model: str) -> Driver:
        """The driver of a model. Raises UnknownModel (a LookupError) with the nearest names, MapError for a bad map."""
        for drivers in self._libraries:
            if model in drivers:
                return drivers[model]
        near = difflib.get_close_matches(model.lower(), list(self), n=3, cutoff=0.5)
        raise UnknownModel(model, tuple(near))

    def models(self) -> tuple[str, ...]:
        """All models, sorted."""
        return tuple(sorted({model for drivers in self._libraries for model in drivers}))

    def __iter__(self) -> Iterator[str]:
        return iter(self.models())


def _loaded(entry: EntryPoint) -> Mapping[str, Driver] | None:
    """The mapping that an entry point names; None, and a line in the log, where it does not load."""
    try:
        found = entry.load()
    except Exception as bug:  # noqa: BLE001 - a broken package of somebody else must not stop the gateway
        _log.error("drivers of %s do not load: %s: %s", _package(entry), type(bug).__name__, bug)
        return None
    if not isinstance(found, Mapping):
        _log.error("drivers of %s: %s is no mapping of models", _package(entry), entry.value)
        return None
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
