"""A site file is taken whole or refused with all its problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.config.load import MAX_BYTES, site
from lamppost.config.problems import SiteInvalid
from lamppost_drivers.library import find

CASES = Path(__file__).resolve().parents[2] / "cases"

GOOD = b"""
[site]
gateway = "gw-1"
hub = "hub.city"
[uplink]
host = "hub.city"
[aggregate]
window = "1min"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter-1"
model = "sdm630"
link = "rs485-1"
unit = 1
every = "1s"
"""


def refusal(raw: bytes) -> SiteInvalid:
    with pytest.raises(SiteInvalid) as caught:
        site(raw, find)
    return caught.value


def test_a_good_site_is_taken_with_its_units() -> None:
    found = site(GOOD, find)
    assert (found.aggregate.window, found.device[0].every) == (60.0, 1.0)
    assert found.ring.size == 64 * 1024 * 1024


def test_a_byte_order_mark_and_crlf_are_accepted() -> None:
    assert site(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"), find) == site(GOOD, find)


@pytest.mark.parametrize("case", sorted(p.parent.name for p in CASES.glob("site-*/site.toml")))
def test_all_problems_are_named_at_once(case: str) -> None:
    refused = refusal((CASES / case / "site.toml").read_bytes())
    assert str(refused) + "\n" == (CASES / case / "expected.txt").read_text()
    assert refused.code == "config.invalid"


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ((b'"1s"', b'"1 week"'), "device[0].every", "write a number with a unit"),
        ((b"unit = 1", b"unit = 248"), "device[0].unit", "must be 1 to 247"),
        ((b"unit = 1", b"# unit"), "device[0].unit", "required: the Modbus unit id"),
        ((b'"gw-1"', b'"GW/1"'), "site.gateway", "string should match pattern"),
        ((b'"1min"', b'"0s"'), "aggregate.window", "greater than or equal to 1"),
        (
            (b"unit = 1\n", b'unit = 1\npoll = { fsat = "1s" }\n'),
            "device[0].poll.fsat",
            "poll groups",
        ),
    ],
)
def test_one_mistake_one_problem(change: tuple[bytes, bytes], key: str, reason: str) -> None:
    (problem,) = refusal(GOOD.replace(*change)).problems
    assert problem.key == key
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[site", "not TOML"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"#" * (MAX_BYTES + 1), "larger than"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_site_is_refused(raw: bytes, reason: str) -> None:
    (problem,) = refusal(raw).problems
    assert reason in problem.reason


@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_out_of_noise(noise: bytes) -> None:
    refusal(noise)
