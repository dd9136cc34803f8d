"""Certificates: what stands in them, and that nothing of a request but its key gets in."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lamppost.errors import TrustError
from lamppost_hub.ca import Authority, check_gateway_id
from unit.hub.world import START

NOW = dt.datetime.fromtimestamp(START // 10**9, dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    Authority.create(tmp_path, "device-ca", START)
    return Authority.load(tmp_path, "device-ca")


def request(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "gw-1"
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName("hub.example")]), critical=False
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def test_only_the_key_is_taken_from_a_request(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue_gateway("gw-1", request(key, name="hub"), START)
    leaf = x509.load_pem_x509_certificate(issued.pem)
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.rfc4514_string() == "CN=gw-1"
    assert {e.oid._name for e in leaf.extensions} == {
        "basicConstraints",
        "keyUsage",
        "extendedKeyUsage",
        "authorityKeyIdentifier",
    }
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_after_utc == NOW + dt.timedelta(days=90)
    assert issued.not_after == int(leaf.not_valid_after_utc.timestamp()) * 10**9
    assert issued.serial == f"{leaf.serial_number:x}"
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem))


def test_a_request_that_does_not_prove_its_key_is_refused(authority: Authority) -> None:
    der = bytearray(
        x509.load_pem_x509_csr(request(ec.generate_private_key(ec.SECP256R1()))).public_bytes(
            serialization.Encoding.DER
        )
    )
    der[-1] ^= 1
    pem = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(TrustError, match="does not prove") as refused:
        authority.issue_gateway("gw-1", pem, START)
    assert refused.value.code == "ca.request"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        request(ed25519.Ed25519PrivateKey.generate()),
        request(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "junk", "ed25519", "p384"],
)
def test_other_requests_are_refused(authority: Authority, pem: bytes) -> None:
    with pytest.raises(TrustError) as refused:
        authority.issue_gateway("gw-1", pem, START)
    assert refused.value.code == "ca.request"


@pytest.mark.parametrize(
    "name", ["", "hub", "hub-2", "gw+1", "gw/1", "#", "%u", "GW-1", "-gw", "gw.1", "g" * 64, "gw\n"]
)
def test_names_that_would_be_more_than_a_gateway_are_refused(name: str) -> None:
    with pytest.raises(TrustError) as refused:
        check_gateway_id(name)
    assert refused.value.code == "ca.gateway-id"


def test_a_server_certificate_names_this_host(tmp_path: Path) -> None:
    server = Authority.create(tmp_path, "server-ca", START)
    issued = server.issue_server(tmp_path, ["hub.example", "192.0.2.7"], START)
    leaf = x509.load_pem_x509_certificate(issued.pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "hub.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "192.0.2.7"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_keys_are_private_files(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "device-ca", START)
    authority.issue_receiver(tmp_path, 1, START)
    authority.issue_receiver(tmp_path, 2, START)
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.glob("*.key")} == {
        "device-ca.key": 0o600,
        "hub.key": 0o600,
        "hub-2.key": 0o600,
    }
    leaf = x509.load_pem_x509_certificate((tmp_path / "hub-2.pem").read_bytes())
    assert leaf.subject.rfc4514_string() == "CN=hub-2"


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "device-ca", START)
    late = START + 3600 * 24 * 10**9 * 3640
    issued = authority.issue_gateway("gw-1", request(ec.generate_private_key(ec.SECP256R1())), late)
    own = x509.load_pem_x509_certificate(authority.pem)
    assert x509.load_pem_x509_certificate(issued.pem).not_valid_after_utc == own.not_valid_after_utc


def test_a_damaged_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError) as missing:
        Authority.load(tmp_path, "device-ca")
    assert missing.value.code == "ca.unreadable"
