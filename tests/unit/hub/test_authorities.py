"""The offline root and the issuing CA below it: what verifies, what a year brings, what the operator is told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from lamppost.envelope import identity
from lamppost.errors import TrustError
from lamppost_hub import founding
from lamppost_hub.ca import life_of
from lamppost_hub.cli import main
from lamppost_hub.clock import SystemClock
from lamppost_hub.folder import HubFolder, Settings
from unit.hub.world import START, FrozenClock

DAY = 86_400 * 10**9
SETTINGS = Settings("hub.test", "hub.example", 8883)


def hub(tmp_path: Path, clock: FrozenClock) -> HubFolder:
    folder = HubFolder(tmp_path / "hub")
    founding.found(folder, SETTINGS, clock, offline=tmp_path / "stick")
    return folder


def chain_of(folder: HubFolder, clock: FrozenClock, home: Path, name: str = "gw-1") -> bytes:
    identity.create(home, name)
    request = identity.read_request(identity.request(home))
    database = founding.open_database(folder)
    _, bundle = founding.approve(folder, database, request, clock, replace=True)
    database.close()
    identity.install(home, bundle)
    return identity.load(home).tls_certificate.read_bytes()


def verify(folder: HubFolder, pem: bytes, utc: int, *, root: str = "device-root") -> None:
    anchors = x509.load_pem_x509_certificates((folder.ca / f"{root}.pem").read_bytes())
    when = dt.datetime.fromtimestamp(utc // 10**9, dt.UTC)
    ends = ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )  # MQTT users are named by their common name
    policy = PolicyBuilder().store(Store(anchors)).time(when)
    policy = policy.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ends
    )
    verifier = policy.build_client_verifier()
    leaf, *rest = x509.load_pem_x509_certificates(pem)
    verifier.verify(leaf, rest)


def test_root_keys_are_only_on_the_stick(tmp_path: Path) -> None:
    folder = hub(tmp_path, FrozenClock())
    assert sorted(p.name for p in (tmp_path / "stick").iterdir()) == [
        "device-root.key",
        "server-ca.key",
    ]
    assert sorted(p.name for p in folder.ca.glob("*.key")) == ["device-ca.key"]
    for path in (tmp_path / "stick").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_gateway_is_verified_through_the_issuing_authority(tmp_path: Path) -> None:
    clock = FrozenClock()
    folder = hub(tmp_path, clock)
    chain = chain_of(folder, clock, tmp_path / "gw")
    verify(folder, chain, START + DAY)
    receiver = (folder.tls / "hub.pem").read_bytes()
    verify(folder, receiver, START + DAY)
    with pytest.raises(VerificationError):
        verify(folder, chain, START + DAY, root="server-ca")
    with pytest.raises(VerificationError):
        verify(folder, (folder.tls / "server.pem").read_bytes(), START + DAY)


def test_a_year_later_the_stick_renews_and_old_certificates_last(tmp_path: Path) -> None:
    clock = FrozenClock()
    folder = hub(tmp_path, clock)
    clock.ns = START + 350 * DAY
    old = chain_of(folder, clock, tmp_path / "old")
    assert life_of(folder.ca / "device-ca.pem").left(clock.ns) < 0.05
    founding.renew_authorities(folder, clock, offline=tmp_path / "stick")
    new = chain_of(folder, clock, tmp_path / "new", "gw-2")
    verify(folder, old, START + 360 * DAY)
    verify(folder, new, START + 430 * DAY)
    # a certificate never outlives the authority that signed it
    with pytest.raises(VerificationError):
        verify(folder, old, START + 370 * DAY)


def test_renewing_needs_the_right_stick(tmp_path: Path) -> None:
    folder = hub(tmp_path, FrozenClock())
    other = HubFolder(tmp_path / "other")
    founding.found(other, SETTINGS, FrozenClock(), offline=tmp_path / "wrong")
    before = (folder.ca / "device-ca.pem").read_bytes()
    for stick in (tmp_path / "wrong", tmp_path / "empty"):
        with pytest.raises(TrustError) as refused:
            founding.renew_authorities(folder, FrozenClock(), offline=stick)
        assert refused.value.code == "ca.unreadable"
    assert (folder.ca / "device-ca.pem").read_bytes() == before


def test_the_operator_is_told_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = SystemClock().utc()
    folder = hub(tmp_path, FrozenClock(now - 250 * DAY))
    with pytest.raises(SystemExit) as end:
        main(["ca", "show", str(folder.root)])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 1
    assert lines[-1].startswith("PROBLEM device-ca.pem ends in 11")
    assert "lamppost-hub ca renew" in lines[-1]
    main(["ca", "renew", str(folder.root), "--offline", str(tmp_path / "stick")])
    main(["ca", "show", str(folder.root)])
    assert capsys.readouterr().out.splitlines()[-1] == "OK nothing is due"
