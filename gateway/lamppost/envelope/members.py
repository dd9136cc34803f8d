"""A small document that its members' own signature stands in: enrolment requests and seeds.

The signature is a COSE_Sign1 with detached content over the deterministic CBOR of all other members, as base64 text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from lamppost.envelope import codec, sign1
from lamppost.envelope.keys import Signer
from lamppost.envelope.public import PublicKey

_HEADER = {sign1.ALG, sign1.KID, sign1.CONTENT_TYPE}


def prove(members: Mapping[str, str], content_type: str, signer: Signer) -> str:
    """The signature over `members`."""
    header = {sign1.CONTENT_TYPE: content_type}
    proof = sign1.sign1(signer, header, codec.encode(members), detached=True)
    return base64.b64encode(proof).decode("ascii")


def check(proof: str, members: Mapping[str, str], content_type: str, key: PublicKey) -> None:
    """Whether `proof` is by `key`, over exactly these members, and for this kind of document.

    Raises ValueError for what is no base64, no UTF-8 or the signature of something else, EnvelopeError `envelope.*`
    for what is no COSE_Sign1 or not by this key.
    """
    signed = sign1.read_sign1(base64.b64decode(proof, validate=True), receipt=True)
    if signed.payload is not None or signed.unprotected or signed.header.keys() != _HEADER:
        raise ValueError("not the signature of a document")
    if signed.header[sign1.CONTENT_TYPE] != content_type:
        raise ValueError("the signature of another kind of document")
    signed.verify(key, codec.encode(members))
