"""From the first boot to an enrolled gateway, and every way in which the folder may be damaged."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from lamppost.envelope import identity, keys
from lamppost.errors import TrustError
from unit.envelope.world import decryption_key, signing_key, trust

HUB_SIGNERS = [signing_key("p256"), signing_key("ed25519")]
HUB_KEYS = [decryption_key("p256"), decryption_key("x25519")]
CA_KEY = ec.generate_private_key(ec.SECP256R1())
NOT_AFTER = dt.datetime(2031, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def certificate(name: str, key: Any, *, ca: bool = False) -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(1)
        .not_valid_before(NOT_AFTER - dt.timedelta(days=90))
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    return builder.sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


CA = certificate("ca", CA_KEY.public_key(), ca=True)


def bundle_for(request: bytes, **changes: Any) -> bytes:
    found = identity.read_request(request)
    csr = x509.load_pem_x509_csr(found.csr_pem.encode())
    members = {
        "schema": "lamppost.bundle/1",
        "gateway": found.gateway,
        "hub": "hub.demo",
        "certificate": certificate(found.gateway, csr.public_key()) + CA,
        "server_ca": CA,
        "hub_signing": [signer.public.pem() for signer in HUB_SIGNERS],
        "hub_encryption": [key.public.pem() for key in HUB_KEYS],
    }
    return json.dumps({**members, **changes}).encode()


@pytest.fixture(scope="module")
def enrolled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "identity"
    identity.create(folder, "gw-1")
    identity.install(folder, bundle_for(identity.request(folder)))
    return folder


@pytest.fixture
def enrolled(enrolled_once: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "identity"
    shutil.copytree(enrolled_once, folder)
    return folder


def test_an_enrolled_gateway(enrolled: Path) -> None:
    found = identity.load(enrolled)
    assert (found.gateway, found.hub) == ("gw-1", "hub.demo")
    assert found.signer.public.verify(found.signer.sign(b"x"), b"x")
    assert found.hub_encryption == HUB_KEYS[0].public  # newest first
    assert found.hub_signing == {s.kid: s.public for s in HUB_SIGNERS}
    assert found.tls_not_after_ns == int(NOT_AFTER.timestamp()) * 10**9
    assert (found.tls_certificate, found.tls_key) == (enrolled / "tls.pem", enrolled / "tls.pem")


def test_the_files_are_what_tls_wants(enrolled: Path) -> None:
    found = identity.load(enrolled)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(found.tls_certificate, found.tls_key)
    context.load_verify_locations(found.server_ca)
    assert context.get_ca_certs()


def test_keys_are_the_owners_alone(enrolled_once: Path) -> None:
    assert enrolled_once.stat().st_mode & 0o777 == 0o700
    for name in ("envelope.key", "tls.pem"):
        assert (enrolled_once / name).stat().st_mode & 0o777 == 0o600


def test_creating_twice_keeps_the_keys(tmp_path: Path) -> None:
    first = identity.create(tmp_path / "id", "gw-1")
    content = {path.name: path.read_bytes() for path in (tmp_path / "id").iterdir()}
    assert identity.create(tmp_path / "id", "gw-1") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "id").iterdir()} == content
    with trust("trust.identity-exists"):
        identity.create(tmp_path / "id", "gw-2")


def test_creating_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    folder = tmp_path / "id"
    key = identity.create(folder, "gw-1")
    (folder / "identity.json").unlink()
    assert identity.create(folder, "gw-1") == key
    assert identity.read_request(identity.request(folder)).envelope_key == key


@pytest.mark.parametrize("name", ["", "GW", "a/b", "../x", "a b", "a" * 64, "-a", "gw.1"])
def test_names_that_are_no_ids(tmp_path: Path, name: str) -> None:
    with trust("trust.gateway-name"):
        identity.create(tmp_path / "id", name)
    assert not (tmp_path / "id").exists()


def test_not_enrolled(tmp_path: Path) -> None:
    for call in (identity.load, identity.request):
        with pytest.raises(TrustError, match="not enrolled") as caught:
            call(tmp_path)
        assert caught.value.code == "trust.not-enrolled"
        assert caught.value.hint.startswith("lamppost enrol")
    identity.create(tmp_path, "gw-1")
    with trust("trust.not-enrolled"):
        identity.load(tmp_path)
    with trust("trust.not-enrolled"):
        identity.install(tmp_path / "other", b"{}")


def test_a_signer_from_elsewhere(enrolled: Path) -> None:
    signer = signing_key("p256")
    (enrolled / "envelope.key").unlink()
    assert identity.load(enrolled, signer).signer is signer
    assert identity.read_request(identity.request(enrolled, signer)).envelope_key == signer.public
    with trust("trust.key-missing"):
        identity.load(enrolled)


BAD_BUNDLES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda request: b"",
    "not JSON": lambda request: b"{",
    "deep": lambda request: b"[" * 100_000,
    "large": lambda request: bundle_for(request, more="x" * (1 << 18)),
    "other schema": lambda request: bundle_for(request, schema="lamppost.bundle/2"),
    "member missing": lambda request: json.dumps({"schema": "lamppost.bundle/1"}).encode(),
    "other gateway": lambda request: bundle_for(request, gateway="gw-2"),
    "no hub": lambda request: bundle_for(request, hub=""),
    "hub is a number": lambda request: bundle_for(request, hub=1),
    "certificate is a list": lambda request: bundle_for(request, certificate=[]),
    "certificate is words": lambda request: bundle_for(request, certificate="words"),
    "certificate of another key": lambda request: bundle_for(
        request, certificate=certificate("gw-1", CA_KEY.public_key())
    ),
    "certificate of another name": lambda request: bundle_for(
        request,
        certificate=certificate(
            "gw-2",
            x509.load_pem_x509_csr(identity.read_request(request).csr_pem.encode()).public_key(),
        ),
    ),
    "server_ca empty": lambda request: bundle_for(request, server_ca=""),
    "no signing key": lambda request: bundle_for(request, hub_signing=[]),
    "signing key is text": lambda request: bundle_for(
        request, hub_signing=HUB_SIGNERS[0].public.pem()
    ),
    "signing key damaged": lambda request: bundle_for(request, hub_signing=["words"]),
    "signing key of X25519": lambda request: bundle_for(
        request, hub_signing=[HUB_KEYS[1].public.pem()]
    ),
    "no encryption key": lambda request: bundle_for(request, hub_encryption=[]),
    "encryption key of Ed25519": lambda request: bundle_for(
        request, hub_encryption=[HUB_SIGNERS[1].public.pem()]
    ),
    "key is a number": lambda request: bundle_for(request, hub_encryption=[1]),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bundle_that_does_not_fit_changes_nothing(enrolled: Path, name: str) -> None:
    request = identity.request(enrolled)
    before = {path.name: path.read_bytes() for path in enrolled.iterdir()}
    with trust("trust.bundle-refused"):
        identity.install(enrolled, BAD_BUNDLES[name](request))
    assert {path.name: path.read_bytes() for path in enrolled.iterdir()} == before


def test_a_newer_bundle_replaces_the_old_one(enrolled: Path) -> None:
    fresh = decryption_key("p256")
    keys = [fresh.public.pem(), HUB_KEYS[0].public.pem()]
    identity.install(
        enrolled, bundle_for(identity.request(enrolled), hub_encryption=keys, hub="hub.new")
    )
    found = identity.load(enrolled)
    assert (found.hub, found.hub_encryption) == ("hub.new", fresh.public)


def test_members_of_later_versions_are_passed_over(enrolled: Path) -> None:
    identity.install(enrolled, bundle_for(identity.request(enrolled), broker="mqtts://hub:8883"))
    assert identity.load(enrolled).hub == "hub.demo"


@pytest.mark.parametrize("name", ["identity.json", "enrolled.json", "tls.pem", "server-ca.pem"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff\xfe", b"{}", b"[1]", None], ids=repr)
def test_damaged_files_have_one_code(enrolled: Path, name: str, content: bytes | None) -> None:
    if content is None:
        content = (enrolled / name).read_bytes()[:30]
    (enrolled / name).write_bytes(content)
    with trust("trust.identity-damaged"):
        identity.load(enrolled)


@pytest.mark.parametrize("name", ["tls.pem", "server-ca.pem"])
def test_missing_files(enrolled: Path, name: str) -> None:
    (enrolled / name).unlink()
    with trust("trust.identity-damaged"):
        identity.load(enrolled)


def test_missing_and_damaged_envelope_keys(enrolled: Path) -> None:
    (enrolled / "envelope.key").write_bytes(b"")
    with trust("trust.key-damaged"):
        identity.load(enrolled)
    (enrolled / "envelope.key").unlink()
    with trust("trust.key-missing"):
        identity.load(enrolled)


def test_a_pair_of_two_identities(enrolled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    identity.create(other, "gw-1")
    identity.install(other, bundle_for(identity.request(other)))
    chain = (enrolled / "tls.pem").read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2]
    (enrolled / "tls.pem").write_bytes(keys.with_chain(other / "tls.pem", chain.decode()))
    with trust("trust.identity-damaged"):
        identity.load(enrolled)


def test_a_renewal_has_a_key_of_its_own(enrolled: Path) -> None:
    before = (enrolled / "tls.pem").read_bytes()
    asked = identity.request(enrolled)
    assert identity.read_request(identity.request(enrolled)).csr_pem != ""
    assert (enrolled / "tls.pem").read_bytes() == before  # in use until the answer is there
    identity.install(enrolled, bundle_for(asked))
    after = (enrolled / "tls.pem").read_bytes()
    assert before.partition(b"CERTIFICATE")[0] != after.partition(b"CERTIFICATE")[0]
    assert not (enrolled / "tls-next.key").exists()
    identity.load(enrolled)


def test_an_answer_that_comes_twice_is_the_same(enrolled: Path) -> None:
    bundle = bundle_for(identity.request(enrolled))
    identity.install(enrolled, bundle)
    once = (enrolled / "tls.pem").read_bytes()
    identity.install(enrolled, bundle)
    assert (enrolled / "tls.pem").read_bytes() == once


def test_an_identity_renamed_by_hand(enrolled: Path) -> None:
    (enrolled / "identity.json").write_text('{"schema": "lamppost.identity/1", "gateway": "gw-2"}')
    with trust("trust.identity-damaged"):
        identity.load(enrolled)


def test_importing_the_package_costs_no_cryptography() -> None:
    import subprocess
    import sys

    code = "import sys, lamppost.envelope; sys.exit('cryptography' in sys.modules or 'cbor2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
