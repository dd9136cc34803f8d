"""The library: models, unknown models, and a site's own maps in front."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from lamppost_drivers import library
from lamppost_drivers.contract import RegisterMap, StreamDriver
from lamppost_drivers.mapfile import MapError, load

MAP = """model = "{model}"
products = ["Mine"]
source = "here"
[[point]]
name = "power"
address = 7
type = "int16"
unit = "W"
range = [0, 1]
"""
MAPS = Path(library.__file__).parent / "maps"


def test_models_and_find() -> None:
    models = library.models()
    assert len(models) >= 100
    assert list(models) == sorted(models)
    assert isinstance(library.find("sdm630"), RegisterMap)
    assert isinstance(library.find("pms5003"), StreamDriver)
    assert library.find("sdm630") is library.find("sdm630")
    assert "sdm630" in library.LIBRARY
    assert "sdm999" not in library.LIBRARY


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(library.UnknownModel) as unknown:
        library.find("SDM-630")
    assert unknown.value.nearest == "sdm630"
    assert "sdm630" in str(unknown.value)
    assert isinstance(unknown.value, KeyError)
    with pytest.raises(library.UnknownModel) as unknown:
        library.find("%%%")
    assert unknown.value.nearest is None


def test_site_maps_stand_in_front(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(MAP.format(model="sdm630"))
    (tmp_path / "b.toml").write_text(MAP.format(model="pms5003"))
    (tmp_path / "c.toml").write_text(MAP.format(model="mine"))
    (tmp_path / "notes.txt").write_text("no map")
    mine = library.with_site_maps(tmp_path)
    for model in ("sdm630", "pms5003", "mine"):
        found = mine.find(model)
        assert isinstance(found, RegisterMap)
        assert found.registers[0].address == 7
    assert set(mine.models()) == {*library.models(), "mine"}
    assert isinstance(library.find("pms5003"), StreamDriver)


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert library.with_site_maps(tmp_path / "none").models() == library.models()


def test_site_maps_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("# hello\n" + MAP.format(model="x"))
    with pytest.raises(MapError, match="first line"):
        library.with_site_maps(tmp_path)
    (tmp_path / "a.toml").write_text(MAP.format(model="x"))
    (tmp_path / "b.toml").write_text(MAP.format(model="x"))
    with pytest.raises(MapError, match=r"stands in a\.toml too"):
        library.with_site_maps(tmp_path)
    (tmp_path / "b.toml").write_text('model = "y"\n')
    with pytest.raises(MapError, match="products"):
        library.with_site_maps(tmp_path).find("y")


@pytest.mark.parametrize("file", sorted(MAPS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_map_file_stands_alone(file: Path) -> None:
    text = file.read_bytes()
    found = load(text, file.name)
    assert text.startswith(f'model = "{found.model}"'.encode())
    assert found.vectors
    assert found.serial.baud in (2400, 9600, 19200, 38400)


def test_the_entry_point_leads_here() -> None:
    (point,) = entry_points(group="lamppost.drivers", name="builtin")
    assert point.load() is library.LIBRARY
