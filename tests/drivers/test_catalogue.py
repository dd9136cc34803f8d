"""The device list in the documentation is the one that the drivers make."""

from __future__ import annotations

import re

from lamppost_drivers.catalogue import catalogue
from lamppost_drivers.library import models
from lamppost_drivers.mapfile import load
from lamppost_drivers.selftest import registers, same
from shared_folder import CHECKOUT


def test_the_page_is_up_to_date() -> None:
    page = CHECKOUT / "docs" / "reference" / "devices.md"
    written = page.read_text(encoding="utf-8")
    assert written == catalogue(), (
        "run: python -m lamppost_drivers.catalogue > docs/reference/devices.md"
    )


def test_every_model_has_its_paragraph() -> None:
    lines = catalogue().splitlines()
    assert all(f"### {model}" in lines for model in models())


def test_the_map_that_the_guide_shows_is_one() -> None:
    guide = (CHECKOUT / "docs" / "how-to" / "add-a-device.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(model.*?)```", guide, re.DOTALL)
    demo = load(shown.encode())
    assert demo.vectors[0].expect is not None
    assert same(registers(demo, demo.vectors[0].registers), demo.vectors[0].expect) == ""
