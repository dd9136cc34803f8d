from pathlib import Path

import pytest

from lamppost.acquire.registry import Registry
from lamppost_drivers import library
from lamppost_drivers.contract import RegisterMap


def test_built_in_models_are_found() -> None:
    registry = Registry.load()
    assert isinstance(registry.find("sdm120"), RegisterMap)
    assert set(library.models()) <= set(registry.models())


def test_an_unknown_model_names_its_neighbours() -> None:
    with pytest.raises(LookupError) as refused:
        Registry.load().find("sdm12O")
    assert "sdm120" in refused.value.nearest  # type: ignore[attr-defined]


def test_a_site_brings_its_own_map(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'model = "own"\nproducts = ["Own meter"]\nsource = "its label"\ntable = "input"\n'
        '[[point]]\nname = "voltage"\naddress = 0\ntype = "float32"\nunit = "V"\n'
        "range = [0, 300]\n"
        '[[vector]]\nnote = "hand-encoded"\nregisters = { 0 = [0x4366, 0x8000] }\n'
        'expect = { "voltage" = 230.5 }\n'
    )
    registry = Registry.load(tmp_path)
    assert [point.name for point in registry.find("own").points] == ["voltage"]
    assert registry.find("sdm120").model == "sdm120"
