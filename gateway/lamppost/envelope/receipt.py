"""What the hub says to a gateway, signed: "I hold batch n" (a COSE Receipt, RFC 9942), or why not.

A receipt's payload is detached: it is the root of the gateway's log at the hub, and the gateway computes it from the
leaf hash of *its own* bytes. A receipt for anything else therefore fails as a signature. Gateway, epoch, batch and
log size are in the protected header too, because the root alone does not tell logs and some sizes apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lamppost.envelope import codec, sign1
from lamppost.envelope.keys import Signer
from lamppost.envelope.merkle import HASH_SIZE, root_from_inclusion
from lamppost.envelope.public import PublicKey
from lamppost.envelope.refusal import REFUSALS, EnvelopeError
from lamppost.envelope.seal import is_epoch, is_name, is_number
from lamppost.model import Receipt

# RFC 9942 §4: verifiable data structure and its proofs, RFC 9162 with SHA-256, inclusion proofs
VDS, VDP, RFC9162_SHA256, INCLUSION = 395, 396, 1, -1
STATEMENT_TYPE = "application/vnd.lamppost.statement+cbor"
KINDS = ("refused", "resend", "nudge")
NONE = -1
"""`seq` or `next` of a statement that names none."""


@dataclass(frozen=True, slots=True)
class ReceiptClaim:
    """A receipt taken apart but not verified: it says nothing until `verify_receipt` has compared it with a leaf."""

    gateway: str
    epoch: str
    seq: int
    log_size: int
    path: tuple[bytes, ...]
    kid: bytes
    signed: sign1.Signed = field(repr=False)
    key: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """A verified word of the hub: batch `seq` of `epoch` is `refused` for `code`, or `resend` from batch `next`, or a
    `nudge`: look for what `code` names, such as a new configuration.

    A field that the hub left out is "" or -1.
    """

    kind: str
    code: str = ""
    epoch: str = ""
    seq: int = NONE
    next: int = NONE


def issue_receipt(
    signer: Signer,
    *,
    gateway: str,
    epoch: str,
    seq: int,
    log_size: int,
    root: bytes,
    path: Sequence[bytes],
) -> bytes:
    """The receipt for batch `seq`, which is leaf `seq` of the log of `gateway` and `epoch` with that size and root."""
    header = {
        VDS: RFC9162_SHA256,
        sign1.CWT_CLAIMS: {sign1.SUB: gateway},
        sign1.EPOCH: epoch,
        sign1.SEQ: seq,
        sign1.LOG_SIZE: log_size,
    }
    proofs = {VDP: {INCLUSION: [codec.encode([log_size, seq, list(path)])]}}
    return sign1.sign1(signer, header, root, detached=True, unprotected=proofs)


def issue_statement(signer: Signer, gateway: str, fields: Mapping[str, str | int]) -> bytes:
    """A signed word to `gateway`; `fields` are those of `Statement`. Raises ValueError for others or wrong kinds."""
    try:
        _statement(fields)
    except EnvelopeError as error:
        raise ValueError(str(error)) from error
    header = {sign1.CONTENT_TYPE: STATEMENT_TYPE, sign1.CWT_CLAIMS: {sign1.SUB: gateway}}
    return sign1.sign1(signer, header, codec.encode(fields))


def read_down(
    message: bytes, gateway: str, hub_signing: Mapping[bytes, PublicKey]
) -> ReceiptClaim | Statement:
    """What came on `lamppost/<gateway>/down`: a claim still to be verified with its leaf, or a verified statement.

    Raises EnvelopeError with one of the codes `receipt.*`.
    """
    with _receipt_codes():
        signed = sign1.read_sign1(message, receipt=True)
        key = hub_signing.get(signed.kid)
        if key is None:
            raise EnvelopeError(
                "receipt.unknown-hub-key", "signed with a key that is not the hub's"
            )
        if VDS in signed.header:
            return _claim(signed, gateway, key)
        if signed.unprotected or signed.payload is None:
            raise codec.malformed("neither a receipt nor a statement")
        signed.verify(key)
        _addressed(signed, gateway, {sign1.CONTENT_TYPE})
        if signed.header[sign1.CONTENT_TYPE] != STATEMENT_TYPE:
            raise codec.malformed("not a statement")
        return _statement(codec.decode(signed.payload))


def verify_receipt(claim: ReceiptClaim, leaf: bytes) -> Receipt:
    """The receipt, proved for the batch with this leaf hash, which the caller looks up by the claim's epoch and seq.

    Raises EnvelopeError `receipt.proof`, `receipt.algorithm`, `receipt.signature`.
    """
    with _receipt_codes():
        root = root_from_inclusion(leaf, claim.seq, claim.log_size, claim.path)
        claim.signed.verify(claim.key, root)
    return Receipt(claim.epoch, claim.seq, claim.log_size, root)


def _claim(signed: sign1.Signed, gateway: str, key: PublicKey) -> ReceiptClaim:
    labels = {VDS, sign1.EPOCH, sign1.SEQ, sign1.LOG_SIZE}
    _addressed(signed, gateway, labels)
    header = signed.header
    epoch, seq, size = header[sign1.EPOCH], header[sign1.SEQ], header[sign1.LOG_SIZE]
    structure = header[VDS]
    if type(structure) is not int or structure != RFC9162_SHA256 or signed.payload is not None:
        raise codec.malformed("not a receipt of an RFC 9162 log with a detached root")
    if not (is_epoch(epoch) and is_number(seq) and is_number(size)):
        raise codec.malformed("epoch, batch or log size has the wrong form")
    proof = codec.decode(_only_proof(signed.unprotected))
    if type(proof) is not list or len(proof) != 3 or proof[:2] != [size, seq]:
        raise EnvelopeError("receipt.proof", "the proof is for another batch or log size")
    path = proof[2]
    if type(path) is not list or not all(type(h) is bytes and len(h) == HASH_SIZE for h in path):
        raise EnvelopeError("receipt.proof", "the path is not a list of hashes")
    return ReceiptClaim(gateway, epoch, seq, size, tuple(path), signed.kid, signed, key)


def _only_proof(unprotected: Mapping[Any, Any]) -> bytes:
    if unprotected.keys() != {VDP}:
        raise codec.malformed("an unprotected header holds more or less than the proof")
    proofs = unprotected[VDP]
    if type(proofs) is not dict or proofs.keys() != {INCLUSION}:
        raise codec.malformed("not one kind of proof")
    inclusion = proofs[INCLUSION]
    if type(inclusion) is not list or len(inclusion) != 1 or type(inclusion[0]) is not bytes:
        raise codec.malformed("not one inclusion proof")
    return inclusion[0]


def _addressed(signed: sign1.Signed, gateway: str, labels: set[int]) -> None:
    """Exactly these labels beside the common ones, and claims that name this gateway."""
    if signed.header.keys() != {sign1.ALG, sign1.KID, sign1.CWT_CLAIMS, *labels}:
        raise codec.malformed("the protected header holds more or less than it should")
    claims = signed.header[sign1.CWT_CLAIMS]
    if type(claims) is not dict or claims.keys() != {sign1.SUB} or not is_name(claims[sign1.SUB]):
        raise codec.malformed("the claims do not name one gateway")
    if claims[sign1.SUB] != gateway:
        raise EnvelopeError("receipt.gateway", f"for {claims[sign1.SUB]}, this is {gateway}")


def _statement(fields: Any) -> Statement:
    if not isinstance(fields, Mapping) or not fields.keys() <= set(Statement.__slots__):
        raise codec.malformed("not the fields of a statement")
    for name, value in fields.items():
        wanted = is_number(value) if name in ("seq", "next") else type(value) is str
        if not wanted:
            raise codec.malformed(f"the field {name} has the wrong form")
    if fields.get("kind") not in KINDS:
        raise codec.malformed("a statement of no known kind")
    return Statement(**fields)


@contextmanager
def _receipt_codes() -> Iterator[None]:
    """Refusals of the shared parts get the code of this side."""
    try:
        yield
    except EnvelopeError as error:
        code = error.code.replace("envelope.", "receipt.")
        if code == error.code:
            raise
        raise EnvelopeError(
            code if code in REFUSALS else "receipt.malformed", str(error)
        ) from error
