"""Direct mode before the network: what a batch holds, who is hidden in it, what a change of the uplink's kind does."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamppost.cli.main import main
from lamppost.config.load import site as load_site
from lamppost.config.problems import SiteInvalid
from lamppost.config.schema import DirectSettings
from lamppost.daemon import _begin_anew
from lamppost.envelope.compression import decompress
from lamppost.model import Batch, Instant, Reading, Sample, Span
from lamppost.ngsild.personal import Personal
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.outbound import Outbound, made_for_direct
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from lamppost_drivers.library import LIBRARY
from unit.gateway.test_timeline import Hands

S = 10**9
BEGIN = 1_800_000_000 * S
HOME, STREET = "flat-7-mueller", "lamp-meter"
POINTS = (("voltage.l1", "V", "gauge"), ("energy.import", "kWh", "counter"))
PLAN = SitePlan(
    "gw-1",
    (13.4, 52.5),
    devices=(
        DevicePlan(STREET, "sdm630", points=POINTS),
        DevicePlan(HOME, "sdm630", points=POINTS, description="Mueller, 2nd floor"),
    ),
)
KINDS = {(d.name, name): kind for d in PLAN.devices for name, _, kind in d.points}


class Gateway:
    """A ring and an outbound stage without an identity."""

    def __init__(self, folder: Path) -> None:
        self.timeline = Timeline(folder / "boots.json", send_unsynced=False)
        self.timeline.learn(Hands(boottime=0, utc_ns=BEGIN, in_sync=True))
        self.ring = Ring.open(folder / "ring", 8 * 1024 * 1024)
        personal = Personal({HOME: "p-9f3a"}, 900 * S, KINDS)
        self.outbound = Outbound(
            PLAN, KINDS, self.timeline, window=60.0, grace=1.0, personal=personal
        )

    def read_for(self, seconds: int) -> None:
        for at in range(0, seconds, 10):
            for device in (STREET, HOME):
                readings = (Reading("voltage.l1", 230.0), Reading("energy.import", 5.0 + at))
                sample = Sample(device, Instant("boot-1", at * S), readings)
                self.ring.append([Record(2, pack(sample))])

    def seal(self, at: int) -> list[list[dict[str, Any]]]:
        self.outbound.seal_due(self.ring, None, Instant("boot-1", at * S), at_most=64)
        return [orjson.loads(decompress(batch.message)) for batch in self.ring.held()]


def test_batches_of_direct_mode_need_no_keys_and_say_what_they_are(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.read_for(120)
    batches = gateway.seal(130)
    assert gateway.ring.held()
    assert all(made_for_direct(batch) for batch in gateway.ring.held())
    assert any(STREET in entity["id"] for entity in batches[0])


def test_a_personal_device_is_hidden_from_a_broker_as_from_a_hub(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.read_for(1000)
    batches = gateway.seal(1001)
    text = orjson.dumps(batches).decode()
    assert "p-9f3a" in text
    assert "mueller" not in text.lower()
    hidden = [
        e for batch in batches for e in batch if "p-9f3a" in e["id"] and "Device:" not in e["id"]
    ]
    assert hidden
    assert all("location" not in e for e in hidden)
    start, end = (
        next(
            v for v in hidden[0].values() if isinstance(v, dict) and "urn:lamppost:windowStart" in v
        )[f"urn:lamppost:window{name}"]["value"]
        for name in ("Start", "End")
    )
    assert (start, end) == ("2027-01-15T08:00:00Z", "2027-01-15T08:15:00Z")


@pytest.mark.parametrize("direct", [True, False], ids=["to direct", "to a hub"])
def test_a_change_of_the_kind_of_uplink_seals_what_is_not_proved_again(
    tmp_path: Path, direct: bool
) -> None:
    ring = Ring.open(tmp_path / "ring", 1024 * 1024)
    ring.append([Record(10, b"readings")])
    state = b'{"v":1,"stands":{},"meters":{}}' if direct else b'{"v":1,"direct":true}'
    ring.hold(Batch(ring.epoch, 0, Span(0, 9), b"d" * 32, b"l" * 32, b"message", state))
    before = ring.epoch
    _begin_anew(ring, direct=not direct)
    assert ring.epoch == before
    _begin_anew(ring, direct=direct)
    assert ring.epoch != before
    assert (ring.held(), ring.head()) == ([], None)
    assert [s.payload for s in ring.read(-1, 100)] == [b"readings"]
    _begin_anew(ring, direct=direct)
    ring.close()


SITE = """
[site]
gateway = "gw-1"
[uplink]
mode = "direct"
url = "https://broker.city.example/"
tenant = "lamps"
[uplink.token]
url = "https://idm.city.example/token"
client = "gw-1"
secret = "broker-secret"
[[link]]
name = "rs485-1"
kind = "modbus-rtu"
port = "/dev/ttyUSB0"
[[device]]
name = "meter"
model = "sdm630"
link = "rs485-1"
unit = 1
"""


def refused(text: str) -> list[str]:
    with pytest.raises(SiteInvalid) as found:
        load_site(text.encode(), LIBRARY.__getitem__)
    return [str(problem) for problem in found.value.problems]


def test_a_site_may_name_a_broker_instead_of_a_hub() -> None:
    uplink = load_site(SITE.encode(), LIBRARY.__getitem__).uplink
    assert isinstance(uplink, DirectSettings)
    assert (uplink.url, uplink.history) == ("https://broker.city.example", "temporal")
    assert uplink.token is not None
    assert uplink.token.secret == "broker-secret"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"direct"', '"dircet"', "uplink.mode = 'dircet': needs a known mode (hub, direct); did you mean 'direct'?"),
        ("https://broker.city.example/", "http://broker.city.example/", "must be https; http only to this machine"),
        ("https://broker.city.example/", "https://me:pw@broker.example/", "no user, no query and no fragment"),
        ("https://broker.city.example/", "broker.city.example", "write a URL"),
        ("tenant =", "tennant =", "uplink.tennant = 'lamps': unknown key; did you mean 'tenant'?"),
        ("secret =", "secrets =", "uplink.token.secrets = 'broker-secret': unknown key; did you mean 'secret'?"),
        ('tenant = "lamps"', 'certificate = "c"', "uplink.key: required: certificate and key go together"),
        ('mode = "direct"\n', "", "uplink.host: required, but absent"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table_are_named(old: str, new: str, problem: str) -> None:
    assert old in SITE
    said = refused(SITE.replace(old, new))
    assert any(problem in line for line in said), said


def test_a_site_with_a_hub_names_the_hub() -> None:
    before, _, after = SITE.partition("[uplink]")
    text = before + '[uplink]\nhost = "hub.example"\n' + after[after.index("[[link]]") :]
    assert refused(text) == ["site.hub: required, but absent"]


@pytest.mark.parametrize("direct", [True, False])
def test_the_doctor_asks_no_identity_of_a_gateway_without_a_hub(
    tmp_path: Path, direct: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _, after = SITE.partition("[uplink]")
    hub = before.replace('"gw-1"', '"gw-1"\nhub = "h"') + '[uplink]\nhost = "localhost"\n'
    file = tmp_path / "site.toml"
    file.write_text(SITE if direct else hub + after[after.index("[[link]]") :])
    words = ["--site", str(file), "--state", str(tmp_path / "state")]
    with contextlib.suppress(SystemExit):
        main(["doctor", "trust", *words])
    assert ("trust.not-enrolled" in capsys.readouterr().out) is not direct
