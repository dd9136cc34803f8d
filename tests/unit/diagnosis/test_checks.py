"""Facts in, findings out: what each area says, in which order, and what it keeps silent about."""

from __future__ import annotations

from typing import Any

import pytest

from lamppost.diagnosis import facts as f
from lamppost.diagnosis import verdict
from lamppost.diagnosis.facts import Facts
from lamppost.findings import AREAS

YEAR = 365 * 86400 * 10**9
NOW = 1_900_000_000 * 10**9
CLOCK = f.Clock(state="synced", now=NOW, floor=NOW - YEAR)
BEHIND = f.Clock(state="behind-floor", now=NOW - 3 * YEAR, floor=NOW)
TRUST = f.Trust(
    gateway="gw-1", hub="hub.city", since=NOW - YEAR, until=NOW + YEAR, ours="aa", theirs="bb"
)
CONFIG = f.Config(file="/etc/site.toml", gateway="gw-1", hub="hub.city", host="hub.city", port=8883)
ETH = f.Interface(name="eth0", carrier=True, addresses=["10.0.0.7"])


def dial(outcome: str, port: int = 8883, ms: float = 20.0, why: str = "") -> f.Dial:
    return f.Dial(host="hub.city", port=port, outcome=outcome, ms=ms, why=why)


def net(**how: Any) -> f.Net:
    given = {
        "interfaces": [ETH], "default_route": "eth0", "host": "hub.city", "port": 8883,
        "addresses": ["203.0.113.5"],
    }  # fmt: skip
    return f.Net(**{**given, **how})


def status(**how: Any) -> dict[str, Any]:
    ring = {
        "state": "ok",
        "appended": 5000,
        "waiting": 10,
        "evicted": 0,
        "bytes_used": 10,
        "bytes_limit": 100,
    }
    return {
        "gateway": "gw-1",
        "ring": {**ring, **how.get("ring", {})},
        "uplink": {"state": "connected", "code": None, "batches_sent": 9, **how.get("uplink", {})},
        "devices": how.get("devices", []),
        "buses": how.get("buses", []),
    }


def device(name: str, **reasons: str) -> dict[str, Any]:
    readings = {p.replace("_", "."): {"value": 1.0, "quality": q} for p, q in reasons.items()}
    return {"name": name, "link": "a", "state": "ok", "readings": readings, "counts": {}}


CASES: list[tuple[str, Facts, list[str], int]] = [
    ("nothing seen", Facts(), [], 0),
    ("daemon down", Facts(daemon=f.Daemon(socket="/s", state="down")), ["host.daemon-down"], 3),
    ("daemon hung", Facts(daemon=f.Daemon(socket="/s", state="hung")), ["host.daemon-hung"], 6),
    ("denied", Facts(daemon=f.Daemon(socket="/s", state="denied")), ["host.no-permission"], 5),
    ("load", Facts(host=f.Host(load=9.0, cores=2)), ["host.overloaded"], 0),
    ("memory", Facts(host=f.Host(memory_free=20, memory_total=900)), ["host.low-memory"], 0),
    ("heat", Facts(host=f.Host(celsius=84.0)), ["host.hot"], 0),
    ("weak supply now", Facts(power=0x50005), ["power.under-voltage"], 1),
    ("weak supply before", Facts(power=0x10000), ["power.was-under-voltage"], 0),
    ("slowed by heat", Facts(power=0x80008), ["power.throttled"], 0),
    ("supply well", Facts(power=0), [], 0),
    ("full", Facts(mounts=[f.Mount(path="/", free=3, total=30000)]), ["storage.full"], 1),
    ("a small disk, not full", Facts(mounts=[f.Mount(path="/", free=60, total=100)]), [], 0),
    ("inodes", Facts(mounts=[f.Mount(path="/", free=900, total=9000, inodes=10**6, inodes_free=5)]),
     ["storage.no-inodes"], 1),
    ("read-only", Facts(mounts=[f.Mount(path="/", free=9, total=99, read_only=True)]),
     ["storage.read-only"], 1),
    ("card errors", Facts(card_errors=["mmc0: timeout"]), ["storage.failing"], 1),
    ("filling", Facts(mounts=[f.Mount(path="/", free=1000, total=9000, earlier_free=1500, earlier_hours=48.0)]),
     ["storage.filling"], 0),
    ("not filling", Facts(mounts=[f.Mount(path="/", free=1000, total=9000, earlier_free=900, earlier_hours=48.0)]),
     [], 0),
    ("clock behind", Facts(clock=BEHIND), ["clock.behind-floor"], 1),
    ("unsynced, and waits", Facts(clock=f.Clock(state="unsynced", now=NOW, floor=0),
     config=f.Config(file="x", unsynced="wait")), ["clock.unsynced-waits"], 1),
    ("unsynced, and sends", Facts(clock=f.Clock(state="unsynced", now=NOW, floor=0)), ["clock.unsynced"], 0),
    ("holdover", Facts(clock=f.Clock(state="holdover", now=NOW, floor=0)), ["clock.holdover"], 0),
    ("no carrier", Facts(net=net(interfaces=[f.Interface(name="eth0", carrier=False)], dials=[dial("unreachable")])),
     ["net.no-link"], 1),
    ("no address", Facts(net=net(interfaces=[f.Interface(name="eth0", carrier=True)], dials=[dial("unreachable")])),
     ["net.no-address"], 1),
    ("no route", Facts(net=net(default_route="", dials=[dial("unreachable")])), ["net.no-route"], 1),
    ("no name", Facts(net=net(addresses=[], name_fault="Name or service not known")), ["net.no-dns"], 1),
    ("8883 blocked", Facts(net=net(dials=[dial("timeout")], web=dial("open", 443))), ["net.port-blocked"], 1),
    ("8883 blocked, 443 refused", Facts(net=net(dials=[dial("timeout")], web=dial("refused", 443))),
     ["net.port-blocked"], 1),
    ("all of it silent", Facts(net=net(dials=[dial("timeout")], web=dial("timeout", 443))),
     ["net.hub-unreachable"], 1),
    ("refused", Facts(net=net(dials=[dial("refused")], web=dial("timeout", 443))), ["net.refused"], 1),
    ("lossy", Facts(net=net(dials=[dial("open"), dial("timeout"), dial("open")])), ["net.lossy"], 0),
    ("hub on this machine needs no route", Facts(net=net(default_route="", interfaces=[], addresses=["127.0.0.1"],
     dials=[dial("refused")])), ["net.refused"], 1),
    ("intercepted", Facts(net=net(dials=[dial("open")]),
     tls=f.Tls(code="uplink.wrong-server", why="", issuer="CN=Proxy")),
     ["uplink.intercepted"], 1),
    ("server's dates, our clock right", Facts(clock=CLOCK, tls=f.Tls(code="uplink.clock", why="expired")),
     ["uplink.server-certificate"], 1),
    ("server's dates, our clock wrong", Facts(clock=BEHIND, tls=f.Tls(code="uplink.clock", why="not yet valid")),
     ["clock.behind-floor"], 1),
    ("refused certificate", Facts(tls=f.Tls(code="uplink.refused-certificate", why="revoked")), ["uplink.refused"], 1),
    ("another key at the hub", Facts(trust=TRUST, clock=CLOCK,
     status=status(uplink={"last_refusal": "envelope.unknown-signer: who is that?", "code": "x.y"})),
     ["uplink.hub-key"], 1),
    ("a copied ring", Facts(status=status(uplink={"code": "ledger.equivocation"})), ["uplink.quarantined"], 1),
    ("a copied card", Facts(status=status(uplink={"code": "uplink.taken-over"})), ["uplink.taken-over"], 1),
    ("no topic", Facts(status=status(uplink={"code": "uplink.not-authorised"})), ["uplink.forbidden"], 1),
    ("no receipts", Facts(status=status(uplink={"code": "uplink.no-receipt", "held": 4})), ["uplink.no-receipts"], 1),
    ("down, and the network says why", Facts(net=net(dials=[dial("refused")]),
     status=status(uplink={"code": "uplink.unreachable", "state": "waiting"})), ["net.refused"], 1),
    ("not enrolled", Facts(trust=f.Trust(code="trust.not-enrolled", why="no identity", hint="lamppost enrol")),
     ["trust.not-enrolled"], 8),
    ("key damaged", Facts(trust=f.Trust(code="trust.key-damaged", why="x", hint="y")), ["trust.identity-damaged"], 8),
    ("key exposed", Facts(trust=f.Trust(code="trust.key-exposed", why="x", hint="y")), ["trust.key-exposed"], 8),
    ("expired", Facts(clock=CLOCK, trust=f.Trust(since=1, until=NOW - 10)), ["trust.certificate-expired"], 8),
    ("not valid yet", Facts(clock=CLOCK, trust=f.Trust(since=NOW + 10, until=NOW + YEAR)),
     ["trust.certificate-not-yet"], 8),
    ("expires soon", Facts(clock=CLOCK, trust=f.Trust(since=1, until=NOW + 5 * 86400 * 10**9)),
     ["trust.certificate-expires"], 0),
    ("expired, says a clock that nobody set", Facts(trust=f.Trust(since=1, until=NOW - 10),
     clock=f.Clock(state="unsynced", now=NOW, floor=0)), ["clock.unsynced", "trust.dates-unsure"], 0),
    ("dates behind the floor", Facts(clock=BEHIND, trust=TRUST), ["clock.behind-floor", "trust.dates-unsure"], 1),
    ("no site file", Facts(config=f.Config(file="/x", why="No such file")), ["config.missing"], 7),
    ("bad site file", Facts(config=f.Config(file="/x", problems=["uplink.hosst: unknown key"])), ["config.invalid"], 7),
    ("another gateway's", Facts(config=CONFIG, trust=f.Trust(gateway="gw-2", hub="hub.city", until=NOW + YEAR),
     clock=CLOCK), ["config.other-gateway"], 7),
    ("another hub's", Facts(config=CONFIG, trust=f.Trust(gateway="gw-1", hub="hub.else", until=NOW + YEAR),
     clock=CLOCK), ["config.other-hub"], 7),
    ("ring on a full disk", Facts(status=status(ring={"state": "disk-full"})), ["buffer.not-written"], 1),
    ("spare ring", Facts(status=status(ring={"state": "wrong-owner"})), ["buffer.spare"], 1),
    ("salvaged", Facts(status=status(ring={"state": "salvaged"})), ["buffer.salvaged"], 0),
    ("dropping", Facts(status=status(ring={"evicted": 500, "waiting": 4000})), ["buffer.dropping"], 1),
    ("filling", Facts(status=status(ring={"waiting": 4800, "bytes_used": 95})), ["buffer.filling"], 0),
    ("full, but proved", Facts(status=status(ring={"waiting": 5, "bytes_used": 95, "evicted": 100})), [], 0),
    ("overflow", Facts(status=status(ring={"overflowed": 7})), ["buffer.overflow"], 1),
    ("stuck", Facts(status=status(devices=[device("m", power="stuck")])), ["sensors.stuck"], 1),
    ("out of range", Facts(status=status(devices=[device("m", power="out_of_range")])), ["sensors.implausible"], 1),
    ("sensor fault", Facts(status=status(devices=[device("m", a="sensor_fault")])), ["sensors.fault"], 1),
    ("counter back", Facts(counters=[{"device": "m", "point": "energy", "before": 9, "after": 1}]),
     ["sensors.counter-back"], 1),
    ("a reverted configuration", Facts(generations={"reverted": {"number": 7, "why": "devices fell silent"}}),
     ["config.reverted"], 7),
    ("full disk below a full ring", Facts(mounts=[f.Mount(path="/", free=0, total=3000)],
     status=status(ring={"state": "disk-full"})), ["storage.full", "buffer.not-written"], 1),
    ("weak supply and a silent bus", Facts(power=1, lines=[f.Line(link="a", kind="modbus-rtu", where="/dev/a",
     code="link.missing", why="no such port")]), ["power.under-voltage", "bus.port-missing"], 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "ids", "code"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_facts_lead_to_findings(facts: Facts, ids: list[str], code: int) -> None:
    found = verdict.judge(facts)
    assert [each.id for each in found] == ids
    assert verdict.exit_code(found) == code
    assert all("{" not in each.evidence + each.next for each in found)


@pytest.mark.parametrize("facts", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_facts_survive_json(facts: Facts) -> None:
    assert f.decode(f.encode(facts)) == facts


@pytest.mark.parametrize(
    ("stage", "finding"),
    [
        (f.Modem(), None),
        (f.Modem(wanted=True, manager=True), "modem.missing"),
        (f.Modem(present=True, state="failed", failed="sim-missing"), "modem.sim-missing"),
        (f.Modem(present=True, state="locked", lock="sim-pin"), "modem.sim-locked"),
        (f.Modem(present=True, state="searching", registration="searching"), "modem.searching"),
        (f.Modem(present=True, state="enabled", registration="denied"), "modem.denied"),
        (f.Modem(present=True, state="disabled"), "modem.disabled"),
        (f.Modem(present=True, state="registered", registration="home"), "modem.no-data"),
        (
            f.Modem(present=True, state="connected", registration="home", connected=True, signal=9),
            "modem.weak-signal",
        ),
        (
            f.Modem(
                present=True, state="connected", registration="home", connected=True, signal=70
            ),
            None,
        ),
    ],
)
def test_a_modem_stops_at_a_stage(stage: f.Modem, finding: str | None) -> None:
    found = verdict.judge(Facts(modem=stage), ["modem"])
    assert [each.id for each in found] == ([finding] if finding else [])


def test_other_facts_are_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        f.decode(b'{"schema": "lamppost.facts/9"}')
    with pytest.raises(ValueError, match="no facts"):
        f.decode(b"{")


def test_areas_without_facts_are_unseen() -> None:
    assert verdict.unseen(Facts()) == list(AREAS)
    assert "power" not in verdict.unseen(Facts(power=0))


def test_of_a_device_that_is_not_heard_nobody_says_that_it_measures_well() -> None:
    heard = {"devices": [{"name": "a", "state": "ok"}, {"name": "b", "state": "suspect"}]}
    assert "sensors" not in verdict.unseen(Facts(status=heard))
    gone = {"devices": [{"name": "a", "state": "ok"}, {"name": "b", "state": "dead"}]}
    assert "sensors" in verdict.unseen(Facts(status=gone))


def told(kind: str, device: dict[str, Any] | None = None, **bus: Any) -> Facts:
    """A link that only the daemon has seen, with one device that is well, or another that is not."""
    row = {
        "name": "x",
        "kind": kind,
        "where": "w",
        "state": "ok",
        "opened": 1,
        "leased": False,
        **bus,
    }
    well = {"name": "w1", "link": "x", "state": "ok", "counts": {}}
    return Facts(
        status={"buses": [row], "devices": [well, {"link": "x", **device}] if device else []}
    )


def lost(code: str, why: str = "", state: str = "dead", **counts: int) -> dict[str, Any]:
    fault = {"code": code, "why": why, "hint": ""}
    return {"name": "w2", "model": "m", "state": state, "fault": fault, "counts": counts}


HANGS = {"code": "link.lost", "why": "c:1: not one byte after 4 requests", "hint": ""}


@pytest.mark.parametrize(
    ("facts", "expected", "code"),
    [
        (told("mbus-tcp", lost("link.no-answer")), "bus.meter-silent", 1),
        (told("mbus", state="dead", fault={"code": "link.busy", "why": "p held by minicom"}), "bus.port-busy", 4),
        (told("mbus-tcp", state="dead", fault={"code": "link.missing", "why": "c:1: Connection refused"}),
         "bus.converter-refused", 1),
        (told("ble", lost("link.corrupt", corrupt=9)), "sensors.not-readable", 1),
        (told("ble", lost("link.no-answer", "CB:B8:33:4C:88:4F: not heard")), "sensors.not-heard", 1),
        (told("gpio", lost("link.busy", "GPIO 17: 'GPIO busy'")), "bus.pin-busy", 4),
        (told("gpio", state="dead", fault={"code": "link.missing", "why": "GPIO: no chip"}), "bus.gpio-missing", 1),
        (told("gpio", state="dead", fault={"code": "link.permission", "why": "/dev/gpiochip0: no permission"}),
         "bus.port-permission", 5),
        (told("ble", state="dead", fault={"code": "link.not-installed", "why": "hci0: its library is not installed"}),
         "bus.library-missing", 1),
    ],
)  # fmt: skip
def test_what_the_daemon_says_of_other_kinds_of_link(
    facts: Facts, expected: str, code: int
) -> None:
    found = verdict.judge(facts, ["bus"])
    assert ([each.id for each in found], verdict.exit_code(found)) == ([expected], code)


def test_a_converter_that_hangs_is_no_wrong_address() -> None:
    facts = told("mbus-tcp", state="dead", fault=HANGS)
    silent = [{**lost("link.no-answer"), "link": "x"}]
    assert facts.status is not None
    facts = Facts(status={**facts.status, "devices": silent})
    assert [each.id for each in verdict.judge(facts, ["bus"])] == ["bus.mbus-silent"]


@pytest.mark.parametrize(
    ("neighbour", "expected"), [({"polls": 900, "corrupt": 2}, "bus.duplicate-suspect"),
                                ({"polls": 900, "corrupt": 90}, "bus.noisy-line")]
)  # fmt: skip
def test_the_daemon_counted_whether_neighbours_are_clean(
    neighbour: dict[str, int], expected: str
) -> None:
    facts = told("modbus-rtu", lost("link.corrupt", corrupt=9, polls=9))
    assert facts.status is not None
    facts.status["devices"][0]["counts"] = neighbour
    assert {each.id for each in verdict.judge(facts, ["bus"])} == {expected}
