"""The device list in the documentation is the one that the drivers make."""

from __future__ import annotations

import re
from dataclasses import replace

from lamppost_drivers.catalogue import catalogue, status
from lamppost_drivers.contract import RegisterMap
from lamppost_drivers.library import LIBRARY, models
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


NAMED = (
    "sdm120", "sdm220", "sdm230", "sdm630", "sdm72d-m", "iem3255", "pm3255", "pm5110", "em24", "em340", "em111",
    "abb-b23", "pac2200", "mag6000", "umg96", "or-we-504", "or-we-514", "or-we-516", "pzem004t", "dtsu666",
    "multical602", "multical603", "ifc300", "lx80", "xm9505", "senseair-s8",
)  # fmt: skip
"""Maps for what cities use most: meters of electricity, heat and water, a flow, a level, a rain and a CO2 sensor."""


def test_the_maps_that_cities_use_most_are_there() -> None:
    maps = {model for model in models() if isinstance(LIBRARY[model], RegisterMap)}
    assert len(NAMED) >= 25
    assert set(NAMED) <= maps, set(NAMED) - maps
    assert all(not any(p.low == p.high for p in LIBRARY[m].points if p.unit) for m in NAMED)


def test_each_paragraph_says_what_a_buyer_asks() -> None:
    """Products, how it is connected, quantities with units, status, vectors, source."""
    page = catalogue()
    for model in models():
        text = page[page.index(f"### {model}\n") :].split("\n### ")[0]
        assert LIBRARY[model].documentation.products[0] in text, model
        assert re.search(r"\d+ [78][NEO][12]|I2C 0x|advertisements|a pulse", text), model
        assert re.search(r"Status: (captures|data sheet|simulated)", text), model
        assert "Source: " in text, model


def test_a_sites_own_map_does_not_inherit_our_proof() -> None:
    ours = LIBRARY["sdm120"]
    assert status(ours) == "captures"
    assert isinstance(ours, RegisterMap)
    assert status(replace(ours, registers=ours.registers[:1])) == "data sheet"


def test_the_map_that_the_guide_shows_is_one() -> None:
    guide = (CHECKOUT / "docs" / "how-to" / "add-a-device.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(model.*?)```", guide, re.DOTALL)
    demo = load(shown.encode())
    assert demo.vectors[0].expect is not None
    assert same(registers(demo, demo.vectors[0].registers), demo.vectors[0].expect) == ""
