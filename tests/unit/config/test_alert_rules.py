"""Alert rules of a site file: what is wrong with them is said with its key, and what would flap is refused."""

from __future__ import annotations

import pytest

from lamppost.alerts import Rate, Rule, Silence, Stuck, Threshold
from lamppost.alerts.configured import rules_of
from lamppost.config.load import site
from lamppost.config.problems import SiteInvalid
from lamppost_drivers.library import find

SITE = """
[site]
gateway = "gw-1"
hub = "hub.city"
[uplink]
host = "hub.city"
monthly = "{monthly}"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
baud = 9600
[[device]]
name = "meter-1"
model = "sdm630"
link = "rs485-1"
unit = 1
every = "10s"
points = ["current.l1", "voltage.l1"]
[[device]]
name = "flat"
model = "sdm120"
link = "rs485-1"
unit = 2
every = "10s"
personal = true
"""
RULE = {
    "name": '"overload"',
    "kind": '"threshold"',
    "device": '"meter-1"',
    "point": '"current.l1"',
    "above": "63",
    "clear": "55",
}
S = 10**9


def text(monthly: str = "200 MB", **changes: str | None) -> bytes:
    rule = {**RULE, **changes}
    lines = [f"{key} = {value}" for key, value in rule.items() if value is not None]
    return (SITE.format(monthly=monthly) + "[[alert]]\n" + "\n".join(lines) + "\n").encode()


def problems(raw: bytes) -> list[str]:
    with pytest.raises(SiteInvalid) as refused:
        site(raw, find)
    return [str(problem) for problem in refused.value.problems]


def test_rules_are_taken_with_their_units() -> None:
    more = """
[[alert]]
name = "jump"
kind = "rate"
device = "meter-1"
point = "voltage.l1"
fall = 20
over = "1min"
severity = "high"
repeat = "1h"
[[alert]]
name = "frozen"
kind = "stuck"
device = "meter-1"
point = "current.l1"
after = "6h"
tolerance = 0.01
[[alert]]
name = "gone"
kind = "silence"
device = "flat"
after = "5min"
"""
    rules = rules_of(site(text(hold='"30s"') + more.encode(), find))
    assert rules == [
        Rule("overload", "meter-1", "current.l1", Threshold(63.0, 55.0), hold=30 * S),
        Rule("jump", "meter-1", "voltage.l1", Rate(20.0, 10.0, 60 * S, up=False), "high", repeat=3600 * S),
        Rule("frozen", "meter-1", "current.l1", Stuck(6 * 3600 * S, 0.01)),
        Rule("gone", "flat", "", Silence(300 * S)),
    ]  # fmt: skip


WRONG: list[tuple[dict[str, str | None], str, str]] = [
    (
        {"device": '"meter-l"'},
        "alert[0].device = 'meter-l'",
        "no device of that name; did you mean 'meter-1'?",
    ),
    (
        {"point": '"curent.l1"'},
        "alert[0].point = 'curent.l1'",
        "device meter-1 does not read such a point; did you mean 'current.l1'?",
    ),
    (
        {"point": '"frequency"'},
        "alert[0].point = 'frequency'",
        "device meter-1 does not read such a point",
    ),
    ({"clear": "63"}, "alert[0].clear = 63", "must be less than above (63), or it flaps"),
    (
        {"above": None, "below": "50", "clear": "50"},
        "alert[0].clear = 50",
        "must be greater than below (50), or it flaps",
    ),
    ({"clear": None}, "alert[0].clear", "required, but absent"),
    ({"above": None}, "alert[0].above", "write one of above and below"),
    ({"below": "3"}, "alert[0].below", "write one of above and below"),
    ({"above": "nan"}, "alert[0].above = nan", "input should be a finite number"),
    (
        {"kind": '"treshold"'},
        "alert[0].kind = 'treshold'",
        "needs a known kind (threshold, rate, stuck, silence); did you mean 'threshold'?",
    ),
    ({"hystersis": "3"}, "alert[0].hystersis = 3", "unknown key"),
    ({"holds": '"3s"'}, "alert[0].holds = '3s'", "unknown key; did you mean 'hold'?"),
    (
        {"severity": '"hihg"'},
        "alert[0].severity = 'hihg'",
        "must be 'informational', 'low', 'medium', 'high' or 'critical'; did you mean 'high'?",
    ),
    ({"repeat": '"1s"'}, "alert[0].repeat = 1.0", "input should be greater than or equal to 60"),
    (
        {"device": '"flat"', "point": '"current"'},
        "alert[0].kind = 'threshold'",
        "device flat is personal: only silence may be told of it at once",
    ),
    (
        {"kind": '"silence"', "above": None, "clear": None, "after": '"15s"'},
        "alert[0].after = 15s",
        "device meter-1 is read every 10s; at least 20s",
    ),
    (
        {"kind": '"rate"', "above": None, "rise": "5", "clear": "5", "over": '"1min"'},
        "alert[0].clear = 5",
        "must be less than the change (5), or it flaps",
    ),
]


@pytest.mark.parametrize(("changes", "key", "reason"), WRONG)
def test_a_wrong_rule_is_refused_with_its_reason(
    changes: dict[str, str | None], key: str, reason: str
) -> None:
    assert f"{key}: {reason}" in problems(text("200 MB", **changes))


def test_names_are_taken_once() -> None:
    twice = text() + text().partition(b"[[alert]]\n")[2].join([b"[[alert]]\n", b""])
    assert problems(twice) == ["alert[1].name = 'overload': already taken by alert[0]"]


@pytest.mark.parametrize(
    ("monthly", "size"), [("200 MB", 200 * 10**6), ("1.5GB", 1_500_000_000), ("64MiB", 64 << 20)]
)
def test_a_month_has_a_volume(monthly: str, size: int) -> None:
    uplink = site(text(monthly), find).uplink
    assert getattr(uplink, "monthly") == size  # noqa: B009 - direct mode has none


@pytest.mark.parametrize("monthly", ["200", "10 kB", "-5 MB", "0.5 MB"])
def test_a_month_without_a_sensible_volume_is_refused(monthly: str) -> None:
    (problem,) = problems(text(monthly))
    assert problem.startswith("uplink.monthly")
