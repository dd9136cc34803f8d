"""Group and gateway laid over each other, written as TOML that reads the same, and checked by the gateway's program."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.errors import LamppostError
from lamppost_hub.publish import render

GROUP = """
[site]
hub = "hub.city"
[uplink]
host = "hub.city"
in_flight = 4
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter-1"
model = "sdm630"
link = "rs485-1"
unit = 1
"""


def laid(folder: Path, gateway: str) -> dict[str, Any]:
    (folder / "gateways").mkdir(parents=True, exist_ok=True)
    (folder / "group.toml").write_text(GROUP)
    (folder / "gateways" / "gw-1.toml").write_text(gateway)
    return tomllib.loads(render.sites(folder)["gw-1"].decode())


def test_a_gateway_is_laid_over_its_group(tmp_path: Path) -> None:
    found = laid(
        tmp_path,
        '[uplink]\nin_flight = 9\n[[device]]\nname = "meter-1"\nunit = 7\n[[device]]\nname = "air"\nlink = "x"\n',
    )
    assert found["site"] == {"hub": "hub.city", "gateway": "gw-1"}
    assert found["uplink"] == {"host": "hub.city", "in_flight": 9}
    meter, air = found["device"]
    assert (meter["unit"], meter["model"], air["name"]) == (7, "sdm630", "air")
    assert [link["name"] for link in found["link"]] == ["rs485-1"]


def test_the_file_s_name_is_the_gateway_s(tmp_path: Path) -> None:
    with pytest.raises(LamppostError, match="gateway is not gw-1") as refused:
        laid(tmp_path, '[site]\ngateway = "gw-2"\n')
    assert refused.value.code == "publish.site-invalid"


def test_no_sites(tmp_path: Path) -> None:
    with pytest.raises(LamppostError) as refused:
        render.sites(tmp_path)
    assert refused.value.code == "publish.no-sites"


def test_the_gateway_s_own_program_checks_them_all(tmp_path: Path) -> None:
    laid(tmp_path, "")
    good = render.sites(tmp_path)
    render.check(good)
    bad = {**good, "gw-2": good["gw-1"].replace(b"unit = 1", b"unit = 999")}
    with pytest.raises(LamppostError, match=r"gw-2.toml: device\[0\].unit = 999") as refused:
        render.check(bad)
    assert refused.value.code == "publish.site-invalid"


keys = st.text(min_size=1, max_size=8)
scalars = (
    st.text(max_size=20)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.datetimes()
    | st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_what_is_written_reads_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(render.written(table).decode()) == table
