"""The enrolment request: both signatures hold, and nobody but the one gateway is named (attacks.md, row 19)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from lamppost.envelope import codec, identity
from lamppost.envelope.enrolment import CONTENT_TYPE, MAX_REQUEST, read_request, write_request
from lamppost.envelope.keys import FileSigner, PublicKey, certificate_request, create_signing_key
from lamppost.envelope.refusal import EnvelopeError
from unit.envelope.world import forge_sign1, mutations, refused, signing_key, trust

SIGNER = signing_key("p256")


def csr(
    *names: tuple[x509.ObjectIdentifier, str],
    key: Any = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    attributes: tuple[tuple[x509.ObjectIdentifier, bytes], ...] = (),
) -> str:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    for oid, value in attributes:
        builder = builder.add_attribute(oid, value)
    key = key or ec.generate_private_key(ec.SECP256R1())
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()


CN = x509.NameOID.COMMON_NAME
GOOD_CSR = csr((CN, "gw-1"))
GOOD = write_request("gw-1", GOOD_CSR, SIGNER)


def altered(**changes: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **changes}).encode()


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_from_files_and_back(tmp_path: Path, kind: str) -> None:
    identity.create(tmp_path / "id", "gw-1", kind)  # type: ignore[arg-type]
    data = identity.request(tmp_path / "id")
    found = identity.read_request(data)
    assert found.gateway == "gw-1"
    assert found.envelope_key == FileSigner.load(tmp_path / "id" / "envelope.key").public
    request = x509.load_pem_x509_csr(found.csr_pem.encode())
    assert request.subject.rfc4514_string() == "CN=gw-1"


def test_a_person_can_read_what_is_approved() -> None:
    members = json.loads(GOOD)
    assert list(members) == ["schema", "gateway", "board", "envelope_key", "csr", "signature"]
    assert members["gateway"] == "gw-1"
    assert members["schema"] == "lamppost.enrolment/1"
    assert read_request(GOOD).envelope_key == SIGNER.public


def test_a_request_for_another_name() -> None:
    with refused("enrolment.signature"):
        read_request(altered(gateway="gw-2"))
    with refused("enrolment.gateway"):
        read_request(write_request("gw-2", GOOD_CSR, SIGNER))


OTHER_NAMES = {
    "no name": csr(),
    "other name": csr((CN, "gw-2")),
    "two names": csr((CN, "gw-1"), (CN, "gw-2")),
    "the same twice": csr((CN, "gw-1"), (CN, "gw-1")),
    "organisation": csr((x509.NameOID.ORGANIZATION_NAME, "City"), (CN, "gw-1")),
    "as organisation": csr((x509.NameOID.ORGANIZATION_NAME, "gw-1")),
    "alternative name": csr(
        (CN, "gw-1"), extensions=(x509.SubjectAlternativeName([x509.DNSName("hub")]),)
    ),
    "wants to be a CA": csr((CN, "gw-1"), extensions=(x509.BasicConstraints(True, None),)),
    "challenge password": csr((CN, "gw-1"), attributes=((AttributeOID.CHALLENGE_PASSWORD, b"x"),)),
    "upper case": csr((CN, "GW-1")),
    "zero byte": csr((CN, "gw-1\0")),
}


@pytest.mark.parametrize("pem", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_certificate_requests_that_name_more(pem: str) -> None:
    with refused("enrolment.gateway"):
        read_request(write_request("gw-1", pem, SIGNER))


BAD_CSR = {
    "empty": "",
    "words": "please",
    "not ASCII": "é",
    "surrogate": "\ud800",
    "P-384": csr((CN, "gw-1"), key=ec.generate_private_key(ec.SECP384R1())),
    "RSA": csr((CN, "gw-1"), key=rsa.generate_private_key(65537, 2048)),
    "Ed25519": csr((CN, "gw-1"), key=ed25519.Ed25519PrivateKey.generate()),
    "words before": "words\n" + GOOD_CSR,
    "words after": GOOD_CSR + "words\n",
    "two": GOOD_CSR + csr((CN, "gw-2")),
    "other line ends": GOOD_CSR.replace("\n", "\r\n"),
    "the envelope key itself": csr((CN, "gw-1"), key=SIGNER._key),
}


@pytest.mark.parametrize("name", BAD_CSR)
def test_certificate_requests_of_other_forms(name: str) -> None:
    pem = BAD_CSR[name]
    data = altered(csr=pem) if name == "surrogate" else write_request("gw-1", pem, SIGNER)
    with refused("enrolment.malformed"):
        read_request(data)


def test_a_certificate_request_signed_by_another_key() -> None:
    der = bytearray(x509.load_pem_x509_csr(GOOD_CSR.encode()).public_bytes(Encoding.DER))
    at = der.index(b"gw-1")
    der[at : at + 4] = b"gw-2"
    text = base64.encodebytes(bytes(der)).decode().replace("\n", "")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    pem = "\n".join(
        ["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""]
    )
    with refused("enrolment.signature"):
        read_request(write_request("gw-2", pem, SIGNER))


def test_the_envelope_key_must_have_signed() -> None:
    other = signing_key("p256")
    with refused("enrolment.signature"):
        read_request(altered(envelope_key=other.public.pem()))
    with refused("enrolment.signature"):
        read_request(altered(csr=csr((CN, "gw-1"))))
    with refused("enrolment.signature"):  # a stranger's signature
        read_request(
            altered(signature=json.loads(write_request("gw-1", GOOD_CSR, other))["signature"])
        )


def test_a_signature_of_another_purpose_or_form() -> None:
    members = {k: v for k, v in json.loads(GOOD).items() if k != "signature"}
    content = codec.encode(members)
    header = {1: -7, 3: CONTENT_TYPE, 4: SIGNER.kid}

    def with_proof(
        protected: dict[Any, Any], payload: Any = None, unprotected: Any = None
    ) -> bytes:
        signature = cbor2.loads(forge_sign1(SIGNER, codec.encode(protected), content)).value[3]
        proof = codec.tag_around(
            18, [codec.encode(protected), unprotected or {}, payload, signature]
        )
        return altered(signature=base64.b64encode(proof).decode())

    assert read_request(with_proof(header)).gateway == "gw-1"
    for proof in (
        with_proof({**header, 3: "application/vnd.lamppost.batch+zstd"}),
        with_proof({**header, 99: 1}),
        with_proof({1: -7, 4: SIGNER.kid}),
        with_proof(header, payload=content),
        with_proof(header, unprotected={1: -7}),
        altered(signature=""),
        altered(signature="AAAA"),
        altered(signature="***"),
        altered(signature="é"),
        altered(signature=json.loads(GOOD)["signature"] + "\n"),
    ):
        with pytest.raises(EnvelopeError, check=lambda e: e.code.startswith("enrolment.")):
            read_request(proof)
    with refused("enrolment.signature"):
        read_request(with_proof({**header, 1: -8}))
    with refused("enrolment.signature"):
        read_request(with_proof({**header, 2: [3]}))


NOT_REQUESTS = {
    "empty": b"",
    "null": b"null",
    "array": b"[]",
    "number": b"1e999",
    "deep": b"[" * 8000 + b"]" * 8000,
    "deep objects": b'{"a":' * 3000,
    "not UTF-8": b"\xff\xfe\x00",
    "NUL": b"\x00" * 100,
    "no members": b"{}",
    "unknown member": altered(more="x"),
    "other schema": altered(schema="lamppost.enrolment/2"),
    "gateway is a number": altered(gateway=1),
    "gateway is a list": altered(gateway=["gw-1"]),
    "gateway no id": altered(gateway="GW 1"),
    "gateway with a slash": altered(gateway="../gw-1"),
    "no key": altered(envelope_key=""),
    "key with words": altered(envelope_key="words\n" + SIGNER.public.pem()),
    "key is an X25519 one": altered(envelope_key=OTHER_NAMES["no name"]),
    "key surrogate": altered(envelope_key="\ud800"),
    "twice": GOOD.replace(b'"csr"', b'"gateway": "gw-1", "csr"', 1),
    "too long": altered(csr=GOOD_CSR + " " * MAX_REQUEST),
}


@pytest.mark.parametrize("data", NOT_REQUESTS.values(), ids=NOT_REQUESTS)
def test_other_documents(data: bytes) -> None:
    with refused("enrolment.malformed"):
        read_request(data)


@pytest.mark.parametrize("rounds", [1500, pytest.param(30_000, marks=pytest.mark.long)])
def test_random_mutations(rounds: int) -> None:
    for changed in mutations(GOOD, rounds, seed=5):
        try:
            found = read_request(changed)
        except EnvelopeError as error:
            assert error.code.startswith("enrolment.")
        else:  # white space between members
            assert found == read_request(GOOD)
            assert json.loads(changed) == json.loads(GOOD)


def test_a_tls_key_must_be_p256(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "tls.key", "ed25519")
    with trust("trust.key-damaged"):
        certificate_request(tmp_path / "tls.key", "gw-1")


def test_keys_of_the_request_are_told_apart_by_their_thumbprint() -> None:
    assert (
        read_request(GOOD).envelope_key.kid
        == PublicKey.from_pem(json.loads(GOOD)["envelope_key"]).kid
    )
