"""One gateway, one hub, and messages between them; forgers that build what the code under test would never build."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from lamppost.envelope.keys import DecryptionKey, EncryptionKey, FileSigner, PublicKey
from lamppost.envelope.public import P256_ORDER
from lamppost.envelope.refusal import REFUSALS, EnvelopeError
from lamppost.envelope.seal import (
    GENESIS,
    Header,
    Opened,
    Sealed,
    SignerRecord,
    open_body,
    open_message,
    seal,
)
from lamppost.errors import TrustError

TOPIC = "lamppost/gw-1/up"
HUB = "hub.demo"
EPOCH = "0f" * 16
PAYLOAD = b'[{"id":"urn:ngsi-ld:Device:gw-1:meter","type":"Device"}]'


def header(**changes: Any) -> Header:
    values: dict[str, Any] = {
        "gateway": "gw-1",
        "aud": HUB,
        "epoch": EPOCH,
        "seq": 7,
        "prev": bytes(range(32)),
        "first": 700,
        "count": 100,
    }
    return Header(**{**values, **changes})


FIRST = header(seq=0, prev=GENESIS, first=0)


def signing_key(kind: str) -> FileSigner:
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "p256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    return FileSigner(PublicKey.of(key.public_key()), key)


def decryption_key(kind: str) -> DecryptionKey:
    key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "p256"
        else x25519.X25519PrivateKey.generate()
    )
    return DecryptionKey(EncryptionKey.of(key.public_key()), key)


@dataclass(frozen=True)
class World:
    """A gateway's signer and the hub that knows it."""

    signer: FileSigner
    hub: DecryptionKey

    def seal(self, payload: bytes = PAYLOAD, topic: str = TOPIC, **changes: Any) -> Sealed:
        return seal(payload, header(**changes), self.signer, self.hub.public, topic)

    def signer_of(self, kid: bytes) -> SignerRecord | None:
        return SignerRecord("gw-1", self.signer.public) if kid == self.signer.kid else None

    def open(self, message: bytes, topic: str = TOPIC, aud: str = HUB) -> Opened:
        keys = {self.hub.kid: self.hub}
        return open_message(message, topic, aud=aud, hub_keys=keys, signer_of=self.signer_of)

    def open_body(self, body: bytes) -> Opened:
        return open_body(body, aud=HUB, signer_of=self.signer_of)


@cache
def world(signing: str = "p256", encryption: str = "p256") -> World:
    return World(signing_key(signing), decryption_key(encryption))


def refused(code: str) -> Any:
    """The one error class with this very code."""
    assert code in REFUSALS
    return pytest.raises(EnvelopeError, check=lambda error: error.code == code and not error.retry)


def trust(code: str) -> Any:
    """What is wrong with this machine's own keys and files."""
    return pytest.raises(TrustError, check=lambda error: error.code == code and bool(error.hint))


def plain_cbor(value: Any) -> bytes:
    """CBOR by the library alone, keys as they come."""
    return cbor2.dumps(value)


def forge_sign1(
    signer: FileSigner,
    protected: Mapping[Any, Any] | bytes,
    payload: Any,
    *,
    unprotected: Mapping[Any, Any] | None = None,
    signature: bytes | None = None,
    high_s: bool = False,
) -> bytes:
    """A COSE_Sign1 with any headers, properly signed unless a signature is given."""
    head = protected if isinstance(protected, bytes) else plain_cbor(dict(protected))
    if signature is None:
        signature = raw_signature(signer, plain_cbor(["Signature1", head, b"", payload]))
    if high_s:
        s = P256_ORDER - int.from_bytes(signature[32:], "big")
        signature = signature[:32] + s.to_bytes(32, "big")
    return plain_cbor(cbor2.CBORTag(18, [head, dict(unprotected or {}), payload, signature]))


def raw_signature(signer: FileSigner, data: bytes) -> bytes:
    key = signer._key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


def mutations(original: bytes, rounds: int, seed: int) -> Iterator[bytes]:
    """Random edits: bytes changed, removed, inserted, stretches repeated; never the original itself."""
    chance = random.Random(seed)
    for _ in range(rounds):
        changed = bytearray(original)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(changed)) if changed else 0
            kind = chance.randrange(4)
            if kind == 0 and changed:
                changed[at] = chance.randrange(256)
            elif kind == 1:
                del changed[at : at + chance.randint(1, 8)]
            elif kind == 2:
                changed[at:at] = chance.randbytes(chance.randint(1, 8))
            else:
                changed[at:at] = changed[at : at + chance.randint(1, 64)]
        if changed != original:
            yield bytes(changed)
