"""The enrolment request: which gateway, its TLS certificate request, and the envelope key that signs for both.

JSON, so that a person can read what is approved; signed as `members` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from lamppost.envelope.keys import Signer
from lamppost.envelope.members import check, prove
from lamppost.envelope.public import PublicKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import is_name

SCHEMA = "lamppost.enrolment/1"
CONTENT_TYPE = "application/vnd.lamppost.enrolment+cbor"
MAX_REQUEST = 16384

MAX_BOARD = 64

_SIGNED = ("schema", "gateway", "board", "envelope_key", "csr")


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A verified request: the gateway's id, its envelope key, the PKCS#10 request (PEM) for its TLS key, and the
    serial number of its board ("" where it has none)."""

    gateway: str
    envelope_key: PublicKey
    csr_pem: str
    board: str = ""


def write_request(gateway: str, csr_pem: str, signer: Signer, board: str = "") -> bytes:
    """The request as JSON; `csr_pem` is signed by the TLS key already."""
    members = {
        "schema": SCHEMA,
        "gateway": gateway,
        "board": board,
        "envelope_key": signer.public.pem(),
        "csr": csr_pem,
    }
    members["signature"] = prove(members, CONTENT_TYPE, signer)
    return (json.dumps(members, indent=1) + "\n").encode()


def read_request(data: bytes) -> EnrolmentRequest:
    """Check both signatures, and that nothing but the one gateway is named.

    Raises EnvelopeError `enrolment.malformed`, `enrolment.signature`, `enrolment.gateway`.
    """
    members = _members(data)
    if members["schema"] != SCHEMA or not is_name(members["gateway"]):
        raise _malformed("not a request of this version, or the gateway's name is no id")
    if len(members["board"]) > MAX_BOARD or not members["board"].isprintable():
        raise _malformed("the board's serial number is no short text")
    try:
        key = PublicKey.from_pem(members["envelope_key"])
    except (EnvelopeError, ValueError) as error:
        raise _malformed("the envelope key is no PEM of a signing key") from error
    if key.pem() != members["envelope_key"]:
        raise _malformed("more than the key in the envelope key's PEM")
    _check_proof(members, key)
    _check_csr(members["csr"], members["gateway"], key)
    return EnrolmentRequest(members["gateway"], key, members["csr"], members["board"])


def _members(data: bytes) -> dict[str, str]:
    if len(data) > MAX_REQUEST:
        raise _malformed(f"larger than {MAX_REQUEST} bytes")
    try:
        found = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _malformed("not JSON") from error
    if not isinstance(found, dict) or found.keys() != {*_SIGNED, "signature"}:
        raise _malformed("members are missing or unknown")
    if not all(type(value) is str for value in found.values()):
        raise _malformed("a member is not text")
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _check_proof(members: Mapping[str, str], key: PublicKey) -> None:
    signed = {name: members[name] for name in _SIGNED}
    try:
        check(members["signature"], signed, CONTENT_TYPE, key)
    except ValueError as error:
        raise _malformed(f"its signature: {error}") from error
    except EnvelopeError as error:
        raise EnvelopeError("enrolment.signature", str(error)) from error


def _check_csr(pem: str, gateway: str, envelope_key: PublicKey) -> None:
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        same = csr.public_bytes(Encoding.PEM).decode("ascii") == pem
        valid = csr.is_signature_valid
        subject = [(name.oid, name.value) for name in csr.subject]
        extras = len(csr.extensions) + len(csr.attributes)
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise _malformed("the certificate request cannot be read") from error
    if not (
        same and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        raise _malformed("not one P-256 certificate request")
    if PublicKey.of(key).kid == envelope_key.kid:
        raise _malformed("the TLS key is the envelope key; they must differ")
    if not valid:
        raise EnvelopeError(
            "enrolment.signature", "the certificate request is not signed by its key"
        )
    if subject != [(x509.NameOID.COMMON_NAME, gateway)] or extras:
        raise EnvelopeError(
            "enrolment.gateway", f"the certificate request names more than {gateway}"
        )


def _malformed(why: str) -> EnvelopeError:
    return EnvelopeError("enrolment.malformed", why)
