"""COSE_Sign1 (RFC 9052 §4.2) as every signature here is made: one protected header, nothing unprotected.

The verifying key is picked by the protected kid, and the key's kind fixes the algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamppost.envelope import codec
from lamppost.envelope.keys import Signer
from lamppost.envelope.public import EMITTED, P256_ORDER, SIGNATURE_SIZE, TAKEN, PublicKey
from lamppost.envelope.refusal import EnvelopeError

TAG = 18

# Header labels (IANA COSE registry): RFC 9052 §3.1, and CWT claims in a header, RFC 9597
ALG, CRIT, CONTENT_TYPE, KID, CWT_CLAIMS = 1, 2, 3, 4, 15
# CWT claims (RFC 8392 §3.1)
ISS, SUB, AUD = 1, 2, 3
# Private use (RFC 9052 §11.1: below -65536)
EPOCH, SEQ, PREV, FIRST, COUNT, LOG_SIZE = -70001, -70002, -70003, -70004, -70005, -70006


@dataclass(frozen=True, slots=True)
class Signed:
    """A COSE_Sign1 taken apart and not yet verified; `payload` is None where it is detached."""

    protected: bytes
    header: Mapping[Any, Any]
    unprotected: Mapping[Any, Any]
    payload: bytes | None
    signature: bytes

    @property
    def kid(self) -> bytes:
        """The protected key id; EnvelopeError `envelope.malformed` unless 32 bytes."""
        kid = self.header.get(KID)
        if type(kid) is not bytes or len(kid) != 32:
            raise codec.malformed("the protected key id is missing or not 32 bytes")
        return kid

    def verify(self, key: PublicKey, payload: bytes | None = None) -> None:
        """Check algorithm, key id and signature; `payload` stands in for a detached one.

        Raises EnvelopeError `envelope.algorithm` or `envelope.signature`.
        """
        algorithm = self.header.get(ALG)
        if type(algorithm) is not int or algorithm not in TAKEN[key.kind]:
            raise EnvelopeError(
                "envelope.algorithm", f"a {key.kind} key does not sign with {algorithm}"
            )
        content = self.payload if payload is None else payload
        if content is None or key.kid != self.kid:
            raise EnvelopeError("envelope.signature", "nothing to verify with this key")
        if not key.verify(self.signature, _to_sign(self.protected, content)):
            raise EnvelopeError("envelope.signature", "the signature does not verify")


def sign1(
    signer: Signer,
    header: Mapping[int, Any],
    payload: bytes,
    *,
    detached: bool = False,
    unprotected: Mapping[int, Any] | None = None,
) -> bytes:
    """Sign `payload` under `header`, to which algorithm and key id are added."""
    protected = codec.encode({ALG: EMITTED[signer.public.kind], KID: signer.kid, **header})
    signature = _one_form(signer, signer.sign(_to_sign(protected, payload)))
    content = None if detached else payload
    return codec.tag_around(TAG, [protected, unprotected or {}, content, signature])


def read_sign1(message: bytes, *, receipt: bool = False) -> Signed:
    """Take a COSE_Sign1 apart; only a receipt has an unprotected header and a detached payload.

    Raises EnvelopeError `envelope.malformed`, `.too-big`, `.critical`.
    """
    protected, unprotected, payload, signature = codec.tagged(message, TAG, 4)
    if (
        type(signature) is not bytes
        or len(signature) != SIGNATURE_SIZE
        or type(unprotected) is not dict
    ):
        raise codec.malformed("not a COSE_Sign1")
    if not receipt and (unprotected or payload is None):
        raise codec.malformed("an unprotected header or a detached payload")
    if payload is not None and type(payload) is not bytes:
        raise codec.malformed("the payload is not bytes")
    return Signed(protected, read_header(protected), unprotected, payload, signature)


def read_header(protected: Any) -> dict[Any, Any]:
    """The map inside a protected header. Raises EnvelopeError `envelope.malformed`, `.critical`."""
    if type(protected) is not bytes:
        raise codec.malformed("the protected header is not a byte string")
    header = codec.decode(protected)
    if type(header) is not dict:
        raise codec.malformed("the protected header is not a map")
    if CRIT in header:
        raise EnvelopeError("envelope.critical", "the header demands an extension (crit)")
    return header


def _to_sign(protected: bytes, payload: bytes) -> bytes:
    return codec.encode(["Signature1", protected, b"", payload])


def _one_form(signer: Signer, signature: bytes) -> bytes:
    """ES256 has two valid s for every signature; the lower one is ours. A token may have given the other."""
    if signer.public.kind != "p256":
        return signature
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + min(s, P256_ORDER - s).to_bytes(32, "big")
