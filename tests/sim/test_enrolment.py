"""Enrolment over HTTPS as gateways and as strangers meet it: TLS 1.3, tokens, renewals, clones, guessing."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.est_server import enrolment_server, pin_of
from lamppost.cli.main import main
from lamppost.clock import SystemClock as GatewayClock
from lamppost.envelope import identity
from lamppost.errors import TrustError
from lamppost.uplink import est
from lamppost.uplink.renewal import Renewal, due_at, renew
from lamppost_hub import founding
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.registry import Registry
from lamppost_hub.tokens import Tokens
from unit.hub.world import FrozenClock

DAY = 86_400 * 10**9


class HubClock(FrozenClock):
    """Two hands: the date may be set, and what has passed only grows."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed


@dataclass
class World:
    """A hub with its enrolment server; `clock` is the hub's."""

    folder: HubFolder
    clock: HubClock
    url: str
    home: Path

    def token(self, gateway: str, *, replace: bool = False) -> str:
        database = founding.open_database(self.folder)
        try:
            return Tokens(database).make(gateway, self.clock.utc(), replace=replace)
        finally:
            database.close()

    def registry(self) -> Registry:
        return Registry(founding.open_database(self.folder))

    def new(self, gateway: str, name: str = "") -> Path:
        """A gateway's identity folder with fresh keys."""
        folder = self.home / (name or gateway)
        identity.create(folder, gateway)
        return folder

    def enrol(self, folder: Path, gateway: str, token: str = "", board: str = "") -> None:
        """What `lamppost enrol` does."""
        ca = est.server_ca(self.url, pin_of(self.folder))
        request = identity.request(folder, board=board)
        identity.install(folder, est.enrol(self.url, ca, request, gateway=gateway, token=token))
        identity.remember_hub(folder, self.url)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("est")
    clock = HubClock(SystemClock().utc())
    folder = HubFolder(base / "hub")
    founding.found(folder, Settings("hub.test", "localhost", 8883), clock)
    with enrolment_server(folder, clock) as url:
        yield World(folder, clock, url, base / "gateways")


@pytest.fixture
def world(served: World) -> World:
    served.clock.ns = SystemClock().utc()
    served.clock.passed += 3601.0  # whoever was wrong in an earlier test may try again
    return served


def refused(code: str) -> pytest.RaisesExc[TrustError]:
    return pytest.RaisesExc(TrustError, check=lambda error: error.code == code)


def test_first_enrolment_and_the_same_again(world: World) -> None:
    folder = world.new("gw-1")
    token = world.token("gw-1")
    world.enrol(folder, "gw-1", token)
    found = identity.load(folder)
    assert (found.gateway, found.hub) == ("gw-1", "hub.test")
    # the answer may have been lost on the way: the envelope key vouches when the same request comes again
    world.enrol(folder, "gw-1", token)
    world.enrol(folder, "gw-1")
    assert world.registry().current_key("gw-1") == found.signer.kid


def test_a_token_lets_one_key_in_once(world: World) -> None:
    token = world.token("gw-2")
    world.enrol(world.new("gw-2"), "gw-2", token)
    thief = world.new("gw-2", "thief")
    with refused("registry.claimed"):
        world.enrol(thief, "gw-2", token)
    with refused("registry.key-differs"):  # a token of its own does not replace a key
        world.enrol(thief, "gw-2", world.token("gw-2"))
    world.enrol(thief, "gw-2", world.token("gw-2", replace=True))


@pytest.mark.parametrize("token", ["", "wrong", "x" * 32])
def test_without_the_token_nobody_gets_in(world: World, token: str) -> None:
    world.token("gw-3")
    with refused("enrolment.token"):
        world.enrol(world.new("gw-3", f"guess-{len(token)}"), "gw-3", token)
    assert not world.registry().knows("gw-3")


def test_a_token_ends(world: World) -> None:
    token = world.token("gw-4")
    world.clock.ns += DAY
    with refused("enrolment.token"):
        world.enrol(world.new("gw-4"), "gw-4", token)


def test_a_token_is_for_one_name(world: World) -> None:
    token = world.token("gw-5")
    ca = est.server_ca(world.url, pin_of(world.folder))
    other = identity.request(world.new("gw-6"))
    with refused("enrolment.gateway"):
        est.enrol(world.url, ca, other, gateway="gw-5", token=token)
    world.enrol(world.new("gw-5"), "gw-5", token)  # a refused request leaves it unspent


def test_a_renewal_by_the_running_certificate(world: World) -> None:
    folder = world.new("gw-7")
    world.enrol(folder, "gw-7", world.token("gw-7"))
    before = (folder / "tls.pem").read_bytes()
    world.clock.ns += 60 * DAY
    renew(folder, world.url, "")
    after = (folder / "tls.pem").read_bytes()
    assert before[:200] != after[:200]
    assert identity.load(folder).tls_not_after_ns > world.clock.ns + 89 * DAY


def test_a_certificate_long_expired_is_no_obstacle(world: World) -> None:
    """A hundred days in a store room: the envelope key asks, the answer is a certificate of today."""
    folder = world.new("gw-8")
    now = world.clock.ns
    world.clock.ns = now - 100 * DAY
    world.enrol(folder, "gw-8", world.token("gw-8"))
    world.clock.ns = now
    assert identity.load(folder).tls_not_after_ns < now
    renew(folder, world.url, "")
    assert identity.load(folder).tls_not_after_ns > now + 80 * DAY


def test_a_revoked_gateway_gets_nothing(world: World) -> None:
    folder = world.new("gw-9")
    world.enrol(folder, "gw-9", world.token("gw-9"))
    world.registry().revoke("gw-9")
    with refused("registry.revoked"):
        renew(folder, world.url, "")
    with refused("registry.revoked"):
        world.enrol(folder, "gw-9")
    world.enrol(folder, "gw-9", world.token("gw-9", replace=True))
    assert world.registry().state_of("gw-9") == "active"


def test_a_copied_card_is_named(world: World) -> None:
    first = world.new("gw-10")
    world.enrol(first, "gw-10", world.token("gw-10"), board="1000000012345678")
    copy = world.home / "copy"
    shutil.copytree(first, copy)
    with refused("registry.board-differs"):
        world.enrol(copy, "gw-10", board="10000000deadbeef")
    with refused("registry.board-taken"):
        world.enrol(world.new("gw-11"), "gw-11", world.token("gw-11"), board="1000000012345678")
    world.enrol(first, "gw-10", board="1000000012345678")


def test_the_pin_decides_who_the_hub_is(world: World) -> None:
    with refused("trust.pin"):
        est.server_ca(world.url, "0" * 64)
    stranger = HubFolder(world.home / "stranger")
    founding.found(stranger, Settings("hub.test", "localhost", 8883), world.clock)
    other_ca = (stranger.ca / "server-ca.pem").read_text()
    with refused("uplink.wrong-server"):
        est.enrol(world.url, other_ca, b"{}")


def test_guessing_is_slowed(world: World) -> None:
    folder = world.new("gw-12")
    for _ in range(10):
        with refused("enrolment.token"):
            world.enrol(folder, "gw-12", "guess")
    good = world.token("gw-12")
    with refused("enrolment.rate"):
        world.enrol(folder, "gw-12", good)
    world.clock.passed += 601.0
    world.enrol(folder, "gw-12", good)


def post(world: World, path: str, body: bytes, kind: str, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(world.url)
    context = ssl.create_default_context(cafile=str(world.folder.ca / "server-ca.pem"))
    connection = http.client.HTTPSConnection("localhost", parts.port, context=context, timeout=20)
    connection.request("POST", path, body, {"Content-Type": kind, **headers})
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


BAD_BODIES = {
    "no JSON": (b"x", est.REQUEST, 400, "enrolment.malformed"),
    "nested": (b"[" * 15000, est.REQUEST, 400, "enrolment.malformed"),
    "too big": (b" " * 20000, est.REQUEST, 413, "enrolment.too-big"),
    "no base64": (b"\xff", "application/pkcs10", 400, "ca.request"),
    "no request": (base64.b64encode(b"x" * 200), "application/pkcs10", 400, "ca.request"),
    "another kind": (b"x", "text/plain", 415, "enrolment.media-type"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bodies_that_are_no_request(world: World, name: str) -> None:
    body, kind, status, code = BAD_BODIES[name]
    found, answer = post(world, "/.well-known/est/simpleenroll", body, kind)
    assert (found, json.loads(answer)["code"]) == (status, code)


def test_other_paths_and_methods_are_nothing(world: World) -> None:
    assert post(world, "/.well-known/est/serverkeygen", b"", est.REQUEST)[0] in (404, 405)
    assert post(world, "/.well-known/est/cacerts", b"", est.REQUEST)[0] == 405


def test_old_tls_is_refused(world: World) -> None:
    context = ssl.create_default_context(cafile=str(world.folder.ca / "server-ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", urlsplit(world.url).port or 0)) as bare,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(bare, server_hostname="localhost")


def test_a_foreign_certificate_is_no_proof(world: World) -> None:
    stranger = HubFolder(world.home / "strangers-hub")
    founding.found(stranger, Settings("hub.test", "localhost", 8883), world.clock)
    own = world.new("gw-13")
    request = identity.read_request(identity.request(own))
    database = founding.open_database(stranger)
    _, bundle = founding.approve(stranger, database, request, world.clock, replace=False)
    database.close()
    identity.install(own, bundle)
    ca = est.server_ca(world.url, pin_of(world.folder))
    with refused("enrolment.token"):
        est.renew(world.url, ca, own / "tls.pem", identity.request(own))


def openssl(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


def test_any_est_client_can_renew(world: World, tmp_path: Path) -> None:
    """RFC 7030 as curl and openssl speak it: PKCS#10 in, PKCS#7 out."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = world.new("gw-14")
    world.enrol(folder, "gw-14", world.token("gw-14"))
    key = tmp_path / "next.key"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    asked = {
        name: base64.encodebytes(
            openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-outform", "DER")
        )
        for name in ("gw-14", "gw-1")
    }
    context = ssl.create_default_context(cafile=str(world.folder.ca / "server-ca.pem"))
    context.load_cert_chain(folder / "tls.pem")
    answers = {}
    for name, body in asked.items():
        connection = http.client.HTTPSConnection(
            "localhost", urlsplit(world.url).port, context=context, timeout=20
        )
        kind = {"Content-Type": "application/pkcs10"}
        connection.request("POST", "/.well-known/est/simplereenroll", body, kind)
        response = connection.getresponse()
        answers[name] = response.status, response.read()
        connection.close()
    assert answers["gw-1"][0] == 400
    status, body = answers["gw-14"]
    assert status == 200
    message = base64.b64decode(body)
    shown = openssl("pkcs7", "-inform", "DER", "-print_certs", stdin=message)
    assert b"CN = gw-14" in shown


async def test_the_daemon_renews_in_its_own_hour(world: World) -> None:
    folder = world.new("gw-15")
    world.enrol(folder, "gw-15", world.token("gw-15"))
    found = identity.load(folder)
    due = due_at("gw-15", found.tls_not_before_ns, found.tls_not_after_ns)
    now, adopted = [due - 1], []
    watch = Renewal(folder, "", GatewayClock(), lambda: now[0], lambda: adopted.append(1))
    assert not await watch.look()
    now[0] = due
    world.clock.ns += 60 * DAY
    assert await watch.look()
    assert adopted == [1]
    world.registry().revoke("gw-15")
    now[0] = due + 365 * DAY
    assert not await watch.look()
    assert watch.code == "registry.revoked"


def test_a_person_renews_at_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    state = world.home / "by-hand"
    identity.create(state / "identity", "gw-16")
    where = ["--state", str(state), "--socket", str(state / "none.sock")]
    with pytest.raises(SystemExit) as end:
        main(["trust", "renew", *where])
    assert end.value.code == 8
    assert "PROBLEM trust.no-server" in capsys.readouterr().out
    world.enrol(state / "identity", "gw-16", world.token("gw-16"))
    before = (state / "identity" / "tls.pem").read_bytes()
    main(["trust", "renew", *where])
    assert (state / "identity" / "tls.pem").read_bytes() != before


def test_renewals_of_a_fleet_are_spread() -> None:
    times = [due_at(f"gw-{n}", 0, 90 * DAY) for n in range(500)]
    assert 55 * DAY < min(times) < 57 * DAY
    assert 63 * DAY < max(times) < 65 * DAY
    assert times == [due_at(f"gw-{n}", 0, 90 * DAY) for n in range(500)]


def test_a_caller_who_says_nothing_is_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamppost_hub.web.HEADERS_WITHIN", 0.2)
    context = ssl.create_default_context(cafile=str(world.folder.ca / "server-ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", urlsplit(world.url).port or 0)) as bare,
        context.wrap_socket(bare, server_hostname="localhost") as line,
    ):
        line.settimeout(20)
        began = time.monotonic()
        with pytest.raises((ConnectionError, ssl.SSLError, EOFError)):
            line.sendall(b"POST /.well-known/est/simpleenroll HTTP/1.1\r\n")
            if line.recv(1) == b"":
                raise EOFError
        assert time.monotonic() - began < 19
