"""Register maps beside a site file: found, before built-in ones, and refused with their place where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamppost.acquire import device_points, site_file
from lamppost.cli.device_skeleton import skeleton
from lamppost.config.problems import SiteInvalid

SITE = """
[site]
gateway = "gw-1"
hub = "h"
[uplink]
host = "h"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter"
model = "{model}"
link = "rs485-1"
unit = 1
"""


def placed(folder: Path, model: str, more: str = "") -> Path:
    file = folder / "site.toml"
    file.write_text(more + SITE.format(model=model))
    return file


def test_maps_beside_the_file_are_used_and_stand_before_built_in_ones(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "acme.toml").write_text(skeleton("acme-m3"))
    (tmp_path / "maps" / "own.toml").write_text(skeleton("sdm630"))
    for model in ("acme-m3", "sdm630"):
        site, registry = site_file.read(placed(tmp_path, model))
        names = [point.name for point in device_points(site, registry)["meter"]]
        assert names == ["voltage.l1", "energy.import"]


def test_a_named_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "acme.toml").write_text(skeleton("acme-m3"))
    named = '[drivers]\nmaps = "own"\n'
    assert site_file.read(placed(tmp_path, "acme-m3", named))[0].device[0].model == "acme-m3"
    with pytest.raises(SiteInvalid) as refused:
        site_file.read(placed(tmp_path, "sdm630", '[drivers]\nmaps = "owm"\n'))
    assert [(p.key, p.reason) for p in refused.value.problems] == [
        ("drivers.maps", "no such folder")
    ]
    with pytest.raises(SiteInvalid) as refused:
        site_file.read(placed(tmp_path, "sdm630", '[drivers]\nmap = "own"\n'))
    assert refused.value.problems[0].nearest == "maps"


def test_all_that_is_wrong_with_all_maps_is_said_at_once(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "a.toml").write_text(skeleton("acme-m3").replace("baud", "boud"))
    (maps / "b.toml").write_text("# no model\n" + skeleton("acme-m4").replace("scale =", "scael ="))
    with pytest.raises(SiteInvalid) as refused:
        site_file.read(placed(tmp_path, "acme-m3"))
    assert [str(problem) for problem in refused.value.problems] == [
        "maps/a.toml: serial.boud: unknown key; did you mean 'baud'?",
        "maps/b.toml: point.[energy.import].scael: unknown key; did you mean 'scale'?",
    ]


def test_one_model_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    for name in ("a", "b"):
        (tmp_path / "maps" / f"{name}.toml").write_text(skeleton("acme-m3"))
    with pytest.raises(SiteInvalid, match=r"stands in a\.toml too"):
        site_file.read(placed(tmp_path, "acme-m3"))
